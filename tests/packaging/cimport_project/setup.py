from Cython.Build import cythonize
from setuptools import Extension, setup

import fastcore

# Headers are all it takes: what is called goes through fastcore's modules, so there is no library to link.
setup(
    ext_modules=cythonize(
        [Extension(name, [f"{name}.pyx"], include_dirs=[fastcore.get_include()]) for name in ("edge", "door")],
        compiler_directives={"language_level": 3},
    )
)
