"""One way to work with files from asyncio, wherever they live."""
