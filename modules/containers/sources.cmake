# The units of ipcpp.containers: interfaces, internal partitions, bodies.
set(containers_interfaces
  modules/containers/containers.cppm
  modules/containers/checks.cppm
  modules/containers/hash.cppm
  modules/containers/string_storage.cppm
  modules/containers/string.cppm
  modules/containers/string_operators.cppm)
set(containers_internal)
set(containers_bodies
  impl/containers/checks.cpp)
