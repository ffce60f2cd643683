"""What happens in a folder, told by the kernel (inotify): no looking again and again.

    watch = FolderWatch("/etc/app")
    wait_until_readable(watch)          gevent.socket.wait_read(watch.fileno()), loop.add_reader, select ...
    watch.read()                        {"app.yaml"}: complete now, or gone

A name is told once a file has been written to its end and closed, moved in or out, linked, or deleted; a write that goes
on is not told. On file systems that are written by other machines the kernel sees nothing of that.
"""

import os

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t

__all__ = ["FolderWatch"]


cdef extern from "<sys/inotify.h>" nogil:
    int inotify_init1(int flags)
    int inotify_add_watch(int fd, const char *path, uint32_t mask)
    int IN_NONBLOCK, IN_CLOEXEC
    uint32_t IN_CLOSE_WRITE, IN_MOVED_TO, IN_MOVED_FROM, IN_CREATE, IN_DELETE, IN_ONLYDIR
    uint32_t IN_DELETE_SELF, IN_MOVE_SELF, IN_Q_OVERFLOW, IN_IGNORED
    struct inotify_event:
        int wd
        uint32_t mask
        uint32_t len
        char name[0]

cdef extern from "<unistd.h>" nogil:
    ssize_t c_read "read"(int fd, void *data, size_t n)
    int c_close "close"(int fd)


cdef class FolderWatch:
    """The names in one folder. Raises OSError when there is no such folder, or the user's share of watches is used up
    (ENOSPC: fs.inotify.max_user_watches; EMFILE: max_user_instances)."""

    cdef int fd

    def __cinit__(self):
        self.fd = -1

    def __init__(self, folder):
        cdef bytes path = os.fsencode(folder)
        self.close()
        self.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno), folder)
        if inotify_add_watch(self.fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE
                             | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR) < 0:
            failed = errno
            self.close()
            raise OSError(failed, os.strerror(failed), folder)

    def __dealloc__(self):
        self.close()

    def fileno(self):
        """Readable when something happened. -1 once closed."""
        return self.fd

    cpdef void close(self):
        if self.fd >= 0:
            c_close(self.fd)
        self.fd = -1

    def read(self):
        """Names that changed since the last look, without waiting; None: everything may have, because the kernel's queue
        ran over or the folder itself has gone."""
        cdef char buffer[8192]
        cdef inotify_event *event
        cdef ssize_t n, at
        cdef bint everything = False
        names = set()
        while True:
            n = c_read(self.fd, buffer, sizeof(buffer))
            if n < 0 and errno == EINTR:
                continue
            if n < 0 and errno != EAGAIN:
                raise OSError(errno, os.strerror(errno))
            if n <= 0:
                return None if everything else names
            at = 0
            while at < n:
                event = <inotify_event *>(buffer + at)
                at += <ssize_t>(sizeof(inotify_event) + event.len)
                if event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_Q_OVERFLOW | IN_IGNORED):
                    everything = True
                elif event.len:
                    names.add(os.fsdecode(<bytes><char *>event.name))  # ends with 0, as the kernel pads it
