# The units of ipcpp.queue: interfaces, internal partitions, bodies.
set(queue_interfaces
  modules/queue/queue.cppm)
set(queue_internal)
set(queue_bodies)
