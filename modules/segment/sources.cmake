# The units of ipcpp.segment: interfaces, internal partitions, bodies.
set(segment_interfaces
  modules/segment/segment.cppm
  modules/segment/segment_picture.cppm
  modules/segment/type_description.cppm)
set(segment_internal
  impl/segment/directory.cppm
  impl/segment/ledger.cppm
  impl/segment/state.cppm)
set(segment_bodies
  impl/segment/attach.cpp
  impl/segment/segment.cpp
  impl/segment/segment_picture.cpp
  impl/segment/directory.cpp
  impl/segment/ledger.cpp
  impl/segment/type_difference.cpp)
