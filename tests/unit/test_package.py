from pathlib import Path

import fastcore


def test_get_include_names_the_folder_of_the_headers_our_pxd_files_name() -> None:
    headers = Path(fastcore.get_include(), "fc")
    named = {
        line.split('"')[1]
        for pxd in Path(fastcore.__file__).parent.glob("*.pxd")
        for line in pxd.read_text().splitlines()
        if line.startswith('cdef extern from "fc/')
    }
    assert len(named) > 15
    assert not [name for name in named if not (headers.parent / name).is_file()]
