"""fastcore: the compiled toolkit under the gateway, the task queue, the real-time backend and the key-value store.

Import the module you need (`from fastcore.http import RequestParser`); nothing is loaded until then.
"""

import os

__all__ = ["__version__", "get_include"]

__version__ = "0.1.0"


def get_include() -> str:
    """The folder of the C headers (`fc/*.h`) that the .pxd files name: what a Cython module that cimports from here
    needs in its include_dirs. Nothing has to be linked."""
    path = os.path  # pathlib costs 10 ms
    here = path.dirname(path.abspath(__file__))
    installed = path.join(here, "include")
    # In the source tree they are floor 1's; a link to them would not survive every way a tree is copied.
    return installed if path.isdir(installed) else path.join(path.dirname(path.dirname(here)), "cext", "include")
