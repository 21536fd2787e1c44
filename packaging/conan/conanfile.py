# Not tested: see ../README.md. Conan 2; takes the sources it lies in.
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy


class Ipcpp(ConanFile):
    name = "ipcpp"
    version = "0.1.0"
    license = "MIT"
    description = "Shared memory and message queues between processes, as C++20 named modules"
    settings = "os", "compiler", "build_type", "arch"
    options = {"tool": [True, False]}
    default_options = {"tool": False}
    package_type = "static-library"

    def requirements(self):
        if self.options.tool:
            self.requires("cli11/[>=2.1]", visible=False)
            self.requires("nlohmann_json/[>=3.11]", visible=False)

    def build_requirements(self):
        self.tool_requires("cmake/[>=3.28]")
        self.tool_requires("ninja/[>=1.11]")

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..", "..")
        for folder in ("modules", "impl", "platform", "cmake", "tools", "docs"):
            copy(self, folder + "/*", root, self.export_sources_folder)
        for file in ("CMakeLists.txt", "LICENSE", "README.md", "CHANGELOG.md"):
            copy(self, file, root, self.export_sources_folder)

    def generate(self):
        toolchain = CMakeToolchain(self, generator="Ninja")
        toolchain.cache_variables.update(
            IPCPP_BUILD_TESTS=False,
            IPCPP_BUILD_EXAMPLES=False,
            IPCPP_WARNINGS=False,
            IPCPP_PLATFORM_VARIANTS=False,
            IPCPP_BUILD_TOOLS=bool(self.options.tool),
        )
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        # The package's own CMake files carry the modules; Conan's generators know nothing of them.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append(os.path.join("lib", "cmake", "ipcpp"))
