# The units of ipcpp.segment: interfaces, internal partitions, bodies.
set(segment_interfaces
  modules/segment/segment.cppm)
set(segment_internal)
set(segment_bodies
  impl/segment/segment.cpp)
