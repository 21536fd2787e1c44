-- What was tested: see ../README.md. Builds the library itself; consumers `add_deps("ipcpp")`.
set_project("ipcpp")
set_version("0.1.0")
set_languages("c++20")
add_rules("mode.debug", "mode.release")

local root = path.join(os.scriptdir(), "..", "..")

target("ipcpp")
  set_kind("static")
  set_policy("build.c++.modules", true)
  add_files(path.join(root, "modules/**.cppm"), {public = true})
  add_files(path.join(root, "impl/**.cppm"), path.join(root, "impl/**.cpp"))
  if is_plat("linux") then
    add_files(path.join(root, "platform/posix/*.cppm"), path.join(root, "platform/linux/*.cppm"), {public = true})
    add_files(path.join(root, "platform/posix/*.cpp"), path.join(root, "platform/linux/*.cpp"))
  elseif is_plat("windows", "mingw") then
    add_files(path.join(root, "platform/windows/*.cppm"), {public = true})
    add_files(path.join(root, "platform/windows/*.cpp"))
  end
target_end()
