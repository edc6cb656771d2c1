"""File systems for code without asyncio: the same verbs without `await`, and real file objects.

>>> fs = aiofs.blocking.connect("s3://bucket/folder")
>>> with fs.open("table.csv", encoding="utf-8") as file:
...     rows = list(csv.DictReader(file))

`fs.blocking` is the same for an asynchronous file system `fs`. All calls run in one event loop, in a thread of its own
that starts with the first call.
"""

from aiofs.blocking.files import BlockingEditor as BlockingEditor
from aiofs.blocking.files import BlockingFile as BlockingFile
from aiofs.blocking.files import BlockingReader as BlockingReader
from aiofs.blocking.files import BlockingTextFile as BlockingTextFile
from aiofs.blocking.files import BlockingWriter as BlockingWriter
from aiofs.blocking.systems import BlockingFileSystem as BlockingFileSystem
from aiofs.blocking.systems import BlockingHeldLock as BlockingHeldLock
from aiofs.blocking.systems import BlockingIterator as BlockingIterator
from aiofs.blocking.systems import BlockingListing as BlockingListing
from aiofs.blocking.systems import BlockingLocal as BlockingLocal
from aiofs.blocking.systems import BlockingLock as BlockingLock
from aiofs.blocking.thread import run as run
from aiofs.blocking.thread import shutdown as shutdown
from aiofs.blocking.transactions import BlockingFileTransaction as BlockingFileTransaction
from aiofs.blocking.transactions import BlockingSavepoint as BlockingSavepoint
from aiofs.blocking.transactions import BlockingTransaction as BlockingTransaction
from aiofs.blocking.transactions import BlockingTransactionalFileSystem as BlockingTransactionalFileSystem
from aiofs.blocking.transactions import fsck as fsck
from aiofs.blocking.transactions import recover as recover
from aiofs.blocking.transactions import transaction as transaction
from aiofs.blocking.urls import connect as connect
from aiofs.blocking.urls import copy as copy
from aiofs.blocking.urls import move as move
from aiofs.blocking.urls import open as open
from aiofs.blocking.urls import probe as probe

__all__ = [
    "BlockingEditor",
    "BlockingFile",
    "BlockingFileSystem",
    "BlockingFileTransaction",
    "BlockingHeldLock",
    "BlockingIterator",
    "BlockingListing",
    "BlockingLocal",
    "BlockingLock",
    "BlockingReader",
    "BlockingSavepoint",
    "BlockingTextFile",
    "BlockingTransaction",
    "BlockingTransactionalFileSystem",
    "BlockingWriter",
    "connect",
    "copy",
    "fsck",
    "move",
    "open",
    "probe",
    "recover",
    "run",
    "shutdown",
    "transaction",
]
