# The units of ipcpp.sync: interfaces, internal partitions, bodies.
set(sync_interfaces
  modules/sync/sync.cppm
  modules/sync/participants.cppm
  modules/sync/address_map.cppm
  modules/sync/fork_safe_lock.cppm
<<<<<<< HEAD
  modules/sync/waiting.cppm)
=======
  modules/sync/waiting.cppm
  modules/sync/mutex.cppm
  modules/sync/synchronized.cppm)
>>>>>>> cde8b790b713ea3e15e12ea1cfc3bf53958033e6
set(sync_internal
  impl/sync/participant_table.cppm
  impl/sync/seats.cppm)
set(sync_bodies
  impl/sync/participants.cpp
  impl/sync/participant_handles.cpp
  impl/sync/address_map.cpp
  impl/sync/seats.cpp
  impl/sync/private_seats.cpp
  impl/sync/waiting.cpp
  impl/sync/mutex.cpp)
