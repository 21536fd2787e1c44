# The units of ipcpp.sync: interfaces, internal partitions, bodies.
set(sync_interfaces
  modules/sync/sync.cppm
  modules/sync/participants.cppm
  modules/sync/participants_picture.cppm
  modules/sync/address_map.cppm
  modules/sync/fork_safe_lock.cppm
  modules/sync/waiting.cppm)
set(sync_internal
  impl/sync/participant_table.cppm)
set(sync_bodies
  impl/sync/participants.cpp
  impl/sync/participants_picture.cpp
  impl/sync/participant_handles.cpp
  impl/sync/address_map.cpp)
