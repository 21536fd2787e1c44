// ipcpp.sync - who takes part and who still lives; on that, locks that survive their owner (they
// come with their issue).
//
//   participants   the table of processes and handles that everything shared keeps
//   address_map    which mapping of this process does an address lie in?
export module ipcpp.sync;

export import :participants;
export import :participants_picture;
export import :address_map;
export import :fork_safe_lock;
export import :waiting;
