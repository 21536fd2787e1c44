// ipcpp.sync - who takes part and who still lives; on that, locks that survive their owner.
//
//   participants   the table of processes and handles that everything shared keeps
//   address_map    which mapping of this process does an address lie in?
//   waiting        sleep until shared memory has changed, wake whoever sleeps (for the layers above)
//   mutex, synchronized<T>
export module ipcpp.sync;

export import :participants;
export import :participants_picture;
export import :lock_picture;
export import :address_map;
export import :fork_safe_lock;
export import :waiting;
export import :mutex;
export import :synchronized;
