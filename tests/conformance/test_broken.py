"""A test of the tests: every fault is found by the behaviour that is meant to find it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from inspect import signature
from typing import Any

import pytest
from blockbuster import BlockingError

from aiofs.backends.memory import MemoryDriver
from aiofs.driver import Driver, Layer
from aiofs.filesystem import FileSystem
from aiofs.testing import Contract, Harness
from aiofs.testing.harness import number_of, reason_against
from conformance import broken_blocking as blocking
from conformance import broken_calls as calls
from conformance import broken_copies as copies
from conformance import broken_handles as handles
from conformance import broken_partials as partials
from conformance import broken_paths as paths
from conformance import broken_stores as stores

pytestmark = pytest.mark.once

FAULTS: list[tuple[int, type[Any]]] = [
    (1, stores.SkipsEmptyFiles),
    (3, stores.TextMode),
    (4, stores.DropsAFullLastPart),
    (6, stores.LeavesATail),
    (7, handles.KeepsTheBuffer),
    (11, stores.CountsFromOne),
    (14, stores.RefusesRangesPastTheEnd),
    (16, stores.ForgetsItsSize),
    (17, handles.CutsLines),
    (20, handles.SeeksBeforeTheStart),
    (23, handles.SeeksAtOnce),
    (24, handles.GrowsWithoutZeros),
    (25, stores.FindsOutAtFirstRead),
    (26, handles.TakesAnyMode),
    (28, handles.TouchesWhatItOpens),
    (29, stores.ShowsWhatIsWritten),
    (30, stores.DeletesThenWrites),
    (31, handles.PublishesOnException),
    (32, stores.LeavesItsParts),
    (36, handles.PublishesWhenCollected),
    (37, handles.SwallowsFailedCommits),
    (39, handles.ReadsAfterClosing),
    (43, stores.CommitsInTwoSteps),
    (44, stores.LosesTheLockWhenCancelled),
    (46, stores.ForgetsTheLock),
    (47, stores.RemovesUnderAWriter),
    (49, stores.LocksTheFolder),
    (50, handles.KeepsTheLockAfterAFailure),
    (51, stores.LooksThenCreates),
    (52, stores.OverwritesChanges),
    (55, stores.FoldsCase),
    (55, stores.ComposesNames),
    (56, handles.CleansPaths),
    (60, stores.ListsByFolder),
    (61, stores.ListsOnePage),
    (62, handles.ListsByPrefix),
    (63, stores.ListsWhereItBegan),
    (64, stores.ListsOtherSizes),
    (65, stores.CountsItsPages),
    (66, handles.KeepsItsListings),
    (67, stores.ListsItsStaging),
    (69, stores.RemovesWhatIsNotThere),
    (70, stores.RemovesByPattern),
    (71, stores.HasOneVersion),
    (72, stores.NamesNoFile),
    (72, stores.RaisesAsItsLibrary),
    (74, stores.TellsItsPassword),
    (75, handles.WorksOnWhenClosed),
    (77, stores.BlocksTheLoop),
    (96, handles.AppendsWhereItIs),
    (98, stores.RewritesElsewhere),
    (103, handles.PublishesWhatIsLeft),
    (107, stores.MixesVersions),
    (113, stores.RemovesOneByOne),
    (117, stores.ForgetsMetadata),
    (121, stores.IgnoresTheVersionAskedFor),
    (132, stores.ForgetsProperties),
    (133, stores.ListsTheOldestVersionFirst),
    (286, handles.DropsWhatIsNotKept),
    (210, calls.ForgetsToWait),
    (211, calls.LastComesFirst),
    (212, calls.TimesOut),
    (213, calls.HidesCancellation),
    (214, calls.TakesAnyWait),
    (215, calls.IsBusyWhenClosed),
    (216, stores.ForgetsTheLock),
    (220, stores.TellsAnotherVersion),
    (221, calls.WritesAnyVersion),
    (222, stores.TakesAbsentForAny),
    (223, calls.LooksThenWrites),
    (224, stores.RemovesAnyVersion),
    (225, calls.CopiesOverAnyVersion),
    (226, stores.OverwritesChanges),
    (227, calls.TakesNoneForAnyVersion),
    (230, calls.ReturnsTheSizeAlone),
    (240, calls.ReturnsTheOldEntry),
    (241, calls.MakesWhatIsMissing),
    (242, calls.ReadsThenWrites),
    (243, calls.ReadsThenWrites),
    (244, calls.ReadsThenWrites),
    (245, calls.TriesTwice),
    (246, calls.LocksBeforeItCalls),
    (260, handles.KnowsOnlyItsName),
    (261, handles.HasAnEntryAtOnce),
    (262, handles.GivesWhatComes),
    (263, stores.IgnoresTheVersionAskedFor),
    (330, blocking.ReadsNothingOfWhatIsMissing),
    (331, blocking.OpensWithoutABuffer),
    (332, blocking.PublishesOnAnException),
    (333, blocking.PublishesWhatIsCollected),
    (334, blocking.NeverSeeks),
    (335, blocking.ReadsWhereItWrote),
    (336, blocking.GoesOnWithAnEndedListing),
    (337, stores.ForgetsTheLock),
    (290, paths.ForgetsTheFolder),
    (291, paths.TakesTextAlone),
    (292, paths.CleansPurePaths),
    (293, paths.ComparesObjects),
    (294, paths.OpensText),
    (295, paths.ListsWhatIsMissing),
    (296, paths.GlobsItsOwnName),
    (297, paths.SeesBeginningsAsFolders),
    (298, paths.ReturnsTheOldName),
    (299, paths.MakesMarks),
    (300, paths.SortsByParts),
    (301, paths.WalksInText),
    (310, copies.ReturnsTheSource),
    (311, copies.CopiesBytesAlone),
    (312, copies.TellsOfTheEndAlone),
    (313, copies.RemovesTheTargetFirst),
    (314, copies.CopiesOverAnyVersion),
    (315, copies.HasNoTwoNamesOfAFile),
    (316, stores.MixesVersions),
    (317, copies.ForgetsToRemove),
    (318, copies.RemovesAnyVersion),
    (319, copies.RemovesBeforeItCopied),
    (320, copies.CopiesBelowTheLayers),
    (321, copies.CopiesThroughTheProcess),
    (322, copies.ForgetsToRemove),
    (323, copies.TakesBeginningsForFolders),
    (324, copies.MakesMarkedFolders),
    (325, copies.TouchesByWriting),
    (326, copies.RemovesFoldersToo),
    (350, paths.ShowsThePasswordInItsUrl),
    (124, stores.AbortsWhatWasCommitted),
    (126, stores.ResumesUnderTheLiving),
    (265, handles.EndsAtAnEmptyPiece),
    (266, handles.ReadsOnTheLoop),
    (267, handles.WritesNumbersAsZeros),
    (268, handles.PublishesWhatCame),
    (269, handles.PublishesWhatWasCancelled),
    (270, handles.ReadsFilesFromTheirStart),
    (271, handles.GathersItsSource),
    (273, handles.ForgetsOptionsOfText),
    (274, handles.WritesWhatDumpsGave),
    (275, handles.DownloadsTheFirstPiece),
    (276, handles.DownloadsInPlace),
    (277, handles.EndsAtTheFirstError),
    (278, handles.WritesManyAtOnce),
    (279, handles.ReadsFarAhead),
    (280, handles.TakesAnyConcurrency),
    (281, handles.ListsOneMore),
    (282, handles.LeavesItsCopies),
    (283, handles.LocksAtTheEnd),
    (284, handles.WritesBackAfterAnError),
    (250, stores.LocksNothingWithAName),
    (251, stores.LocksTheFileOfTheName),
    (252, stores.RepeatsItsNumbers),
    (253, handles.CleansNamesOfLocks),
    (254, stores.TellsNoHolder),
    (255, stores.LocksByTheLastSegment),
    (256, stores.LosesTheLockWhenCancelled),
    (360, partials.GoesOnAtTheStart),
    (361, partials.KeepsWholePartsOnly),
    (361, partials.CutsNothing),
    (362, partials.RemovesWhatIsLeft),
    (363, partials.PublishesOverChanges),
    (364, partials.SaysConflictForAbsent),
    (365, partials.LocksWhatIsUnfinished),
    (366, partials.CutsNothing),
    (367, partials.TakesTokensOfOtherFiles),
    (367, partials.LeavesWhatWasPublished),
    (368, partials.SweepsWhatIsYoung),
    (368, partials.KeepsForEver),
    (369, partials.IgnoresPartialWhereItDoesNotGo),
    (371, partials.ForgetsMetadataOnTheWay),
]


class Sound(Contract):
    """What the twins declare: all that files in memory do."""

    __test__ = False
    declares = MemoryDriver.capabilities
    history = True


REJECTIONS = (
    AssertionError,
    TypeError,
    pytest.fail.Exception,
    OSError,
    KeyError,
    ExceptionGroup,
    BlockingError,
    ValueError,
)


def behaviours(number: int) -> list[str]:
    """The tests of one number that a store in memory is asked for."""
    tests = [getattr(Sound, name) for name in dir(Sound) if number_of(name) == number]
    return [test.__name__ for test in tests if reason_against(test, Sound) is None]


def twin(fault: type[Any] | None) -> Harness:
    """A store in memory with this fault in it."""
    driver: Driver = fault() if fault is not None and issubclass(fault, MemoryDriver) else stores.Faulty()
    below = driver
    if fault is not None and issubclass(fault, Layer):
        driver = fault().bind(driver)
    system = fault if fault is not None and issubclass(fault, FileSystem) else FileSystem

    async def meddle(path: str, data: bytes) -> None:
        below.replaced(path, data)

    harness = Harness(connect=lambda: system(driver), meddle=meddle, secrets=["hunter2"])
    harness.can = driver.capabilities
    return harness


async def verdicts(number: int, fault: type[Any] | None) -> list[str]:
    """How the behaviours of a number end on a store: what they found, or nothing."""
    found = []
    for name in behaviours(number):
        behaviour = getattr(Sound(), name)
        try:
            async with twin(fault) as store, asyncio.timeout(20):
                with pytest.MonkeyPatch.context() as patch:
                    given = [patch] if "monkeypatch" in signature(behaviour).parameters else []
                    await behaviour(store, *given)
        except REJECTIONS as error:
            found.append(f"{name}: {error!r}")
    return found


@pytest.mark.may_block
@pytest.mark.parametrize(("number", "fault"), FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
async def test_the_fault_is_found(number: int, fault: type[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # what a behaviour breaks off is not closed
        assert await verdicts(number, fault)
        gc.collect()


@pytest.mark.may_block
@pytest.mark.parametrize("number", sorted({number for number, _ in FAULTS}))
async def test_nothing_is_found_without_it(number: int) -> None:
    assert await verdicts(number, None) == []


@pytest.mark.may_block
@pytest.mark.parametrize("fault", [fault for _, fault in FAULTS], ids=[fault.__name__ for _, fault in FAULTS])
async def test_it_takes_the_behaviour_to_find_it(fault: type[Any]) -> None:
    """The twins work in everyday use: their fault is not that nothing works."""
    async with twin(fault) as store:
        async with store.fs.open("folder/file", "w") as file:
            await file.write(b"some text")
        async with store.fs.open("folder/file") as file:
            assert await file.read() == b"some text"
        assert await store.fs.ls() == ["folder/file"]
        await store.fs.rm("folder/file")
