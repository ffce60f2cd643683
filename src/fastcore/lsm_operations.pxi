# What an operator does with a store; the work is in modules of its own, which need this one.

def verify(where, *, progress=None):
    """Look at everything of a store that nobody has open: a fastcore.storecheck.CheckReport. See there."""
    from fastcore import storecheck
    return storecheck.verify(where, progress=progress)


def repair(where, *, progress=None):
    """Make a damaged store one that opens again: a fastcore.storecheck.RepairReport. See there."""
    from fastcore import storecheck
    return storecheck.repair(where, progress=progress)


def backups(path):
    """The backups in a folder: fastcore.storebackup.Backup, the oldest first."""
    from fastcore import storebackup
    return storebackup.backups(path)


def restore(path, target, number=None, *, bint verify=True, progress=None):
    """Make a store at target of a backup in the folder path, of the newest unless a number is given. See
    fastcore.storebackup."""
    from fastcore import storebackup
    return off_the_hub(True, lambda: storebackup.restore(path, target, number, verify=verify, progress=progress))


def purge(path, *, keep):
    """Remove all but the newest backups of a folder; the numbers of those that are gone."""
    from fastcore import storebackup
    return off_the_hub(True, lambda: storebackup.purge(path, keep=keep))
