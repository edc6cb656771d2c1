// Loaded before Azurite: keeps it from collecting garbage. Ten minutes after its start, and every ten minutes from then
// on, Azurite looks for bytes that no blob holds any more, and answers nobody meanwhile: for 80 seconds where 10 000
// blobs were overwritten. A run ends before what they take matters.
"use strict";

const path = require("node:path");

const NAME = "DEFAULT_GC_INTERVAL_MS";
const LONGEST = 2 ** 31 - 1; // milliseconds that a timer takes: 24 days

const constants = require(path.join(path.dirname(process.argv[1]), "utils", "constants"));
if (!(NAME in constants)) {
  throw new Error(`this Azurite has no ${NAME}: look how it is kept from collecting garbage now`);
}
constants[NAME] = LONGEST;
