# The units of ipcpp.platform: interfaces, internal partitions, bodies.
set(platform_interfaces
  modules/platform/platform.cppm
  modules/platform/error.cppm
  modules/platform/size_literals.cppm
  modules/platform/fields.cppm
  modules/platform/shareable.cppm
  modules/platform/terms.cppm
  modules/platform/contract.cppm
  modules/platform/object_image.cppm)
set(platform_internal)
set(platform_bodies
  impl/platform/error.cpp
  impl/platform/terms.cpp)
