# The units of ipcpp.containers: interfaces, internal partitions, bodies.
set(containers_interfaces
  modules/containers/containers.cppm)
set(containers_internal)
set(containers_bodies)
