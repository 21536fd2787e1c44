// ipcpp.segment - named, anonymous and file-backed shared memory with a heap and a directory of
// named objects.
//
//   auto segment = ipcpp::segment::open_or_create("shop", {.max_size = 64_MiB});
//   auto& inbox = segment.find_or_construct<ipcpp::mpmc_queue<order>>("inbox", 256);
//
// Representation: one shared object, mapped over its whole capacity:
//
//   0            256               512
//   | prologue   | segment header  | the heap ................................. capacity |
//   | (platform) | magic, lifetime | among it the directory of names
//
// Objects are made with the segment's memory for everything in them (ipcpp.malloc:construction) and
// get their name when they are complete, by one store. A process that dies while it makes or
// destroys one leaves no half-made object; whoever comes next frees what it held.
//
// Invariants: a segment gets its name when it is complete. Mapping, memory source and heap stay
// where they are while any segment of this process stands for the object, however it is moved; a
// process that opens the same object twice has it mapped once.
//
// Roles: any number of threads may use one segment at once; making it, moving it and its destructor
// are not among the operations they may do at the same time.
//
// Failure model: what this system or process cannot give is an exception when the segment is made. A
// killed process leaves nothing half-made behind: an anonymous object goes with its last user, a
// named one as its lifetime says. Bytes that a buggy peer changed are checked before they are used.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

export module ipcpp.segment;

export import :type_description;
export import :segment_picture;
import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp {

// When a name goes.
export enum class lifetime : std::uint8_t {
  last_user,   // with the last attached process; if that was killed, with the next look at the name
  persistent,  // when somebody removes it, or with a reboot. On Windows with the last user
};

// Who may open a segment, besides its creator and root.
export enum class permissions : std::uint8_t {
  owner,  // nobody
  group,  // the creator's group. Whoever opens one of another user's says so as well
};

export struct segment_options {
  std::size_t max_size = 0;  // bytes, for ever; 0 takes the system's default. Rounded up to 64 KiB
  ipcpp::lifetime lifetime = ipcpp::lifetime::last_user;  // of the name
  ipcpp::permissions permissions = ipcpp::permissions::owner;
  bool pinned = false;      // mapped at the same address by everyone: for pinned_allocator
  bool huge_pages = false;  // a hint: used where the system has them to spare
  participant_limits participants{0, 0};  // 0: as many as 1 % of the segment can hold
  misuse on_misuse = misuse::throws;      // of the heap by this process
};

export struct open_options {
  ipcpp::permissions permissions = ipcpp::permissions::owner;
  bool huge_pages = false;
  misuse on_misuse = misuse::throws;
};

// A named object, as for_each_object sees it.
export struct object_info {
  std::string_view name;
  std::string_view type;  // its type_description
  std::size_t bytes = 0;
  std::size_t alignment = 0;
  const void* address = nullptr;
};

export class segment;

namespace detail {

struct segment_state;
class ledger;

// An object being made: has a name that nobody else can take, and no visible object yet. Gives both
// back unless it is settled.
export class object_making {
 public:
  inline object_making(object_making&& other) noexcept
      : segment_(std::exchange(other.segment_, nullptr)),
        slot_(other.slot_),
        hash_(other.hash_),
        memory_(other.memory_),
        ledger_(std::exchange(other.ledger_, nullptr)) {}
  object_making& operator=(object_making&&) = delete;
  ~object_making();

  // Where to build it; nullptr: there is one already.
  [[nodiscard]] inline void* memory() const noexcept { return memory_; }
  // From now on to settle(), what this thread allocates in the segment goes if the object does.
  void begin();
  void settle() noexcept;

 private:
  friend class ipcpp::segment;
  object_making() noexcept = default;

  segment_state* segment_ = nullptr;
  void* slot_ = nullptr;
  void* hash_ = nullptr;
  void* memory_ = nullptr;
  ledger* ledger_ = nullptr;
};

// An object being destroyed: its name is gone; its memory goes with this.
export class object_unmaking {
 public:
  inline object_unmaking(object_unmaking&& other) noexcept
      : segment_(std::exchange(other.segment_, nullptr)),
        slot_(other.slot_),
        hash_(other.hash_),
        object_(other.object_) {}
  object_unmaking& operator=(object_unmaking&&) = delete;
  ~object_unmaking();

  [[nodiscard]] inline void* object() const noexcept {
    return object_;
  }  // nullptr: none of that name

 private:
  friend class ipcpp::segment;
  object_unmaking() noexcept = default;

  segment_state* segment_ = nullptr;
  void* slot_ = nullptr;
  void* hash_ = nullptr;
  void* object_ = nullptr;
};

template <class T>
concept constructible_in_a_segment =
    shareable<T> && std::is_object_v<T> && !std::is_const_v<T> && !std::is_array_v<T>;

}  // namespace detail

export class segment {
 public:
  // The system's own: a file descriptor, or a HANDLE.
  using native_handle_type = platform::shared_object::native_handle_type;

  // ---- making and opening ----
  // Names of segments: 1 to 128 of [A-Za-z0-9._-], the first no dot. All of these throw
  // std::bad_alloc if the system refuses memory, else ipcpp::error: invalid_argument (name, size),
  // no_address_space, access_denied, limit_reached (too many participants or open files).

  // Throws already_exists.
  [[nodiscard]] static segment create(std::string_view name, const segment_options& options = {});
  // Throws not_found, wrong_layout, damaged.
  [[nodiscard]] static segment open(std::string_view name, const open_options& options = {});
  // Exactly one of those who call it at once creates. The options are the creator's; whoever opens
  // takes what is there.
  [[nodiscard]] static segment open_or_create(std::string_view name,
                                              const segment_options& options = {});
  // Looks, and changes nothing: only find, for_each_object and contains may be used. Does not take
  // part, so it is not among the attached processes.
  [[nodiscard]] static segment open_read_only(std::string_view name,
                                              const open_options& options = {});
  // The name is gone at once, users go on undisturbed. false: there was none.
  static bool remove(std::string_view name, const open_options& options = {});

  // The same with a file instead of a name: it stays until it is removed, through reboots, and can be
  // put where there is room. What is written reaches the disk when the system likes, or never if the
  // machine stops before. Throws not_supported on Windows and on file systems without O_TMPFILE.
  [[nodiscard]] static segment create_file(std::string_view path,
                                           const segment_options& options = {});
  [[nodiscard]] static segment open_file(std::string_view path, const open_options& options = {});
  [[nodiscard]] static segment open_or_create_file(std::string_view path,
                                                   const segment_options& options = {});
  [[nodiscard]] static segment open_file_read_only(std::string_view path,
                                                   const open_options& options = {});
  static bool remove_file(std::string_view path, const open_options& options = {});

  // Shared memory without a name: whoever forks shares it with the child, and so does whoever gets
  // its handle.
  [[nodiscard]] static segment anonymous(const segment_options& options = {});
  // Takes over a handle of a segment that came by fork, socket or duplication, and closes it whatever
  // happens.
  [[nodiscard]] static segment from_handle(native_handle_type received,
                                           const open_options& options = {});
  // Waits for what send_handle sent over a connected Unix socket. not_supported on Windows: there,
  // DuplicateHandle native_handle() into the other process.
  [[nodiscard]] static segment receive_handle(native_handle_type socket,
                                              const open_options& options = {});

  inline segment(segment&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  inline segment& operator=(segment&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  // Detaches this process, unless another segment of it stands for the same object.
  ~segment();

  // ---- named objects ----
  // Names of objects: 1 to 128 bytes without control characters. Types: shareable ones; alignment
  // up to 4096. Who finds an object of another type gets wrong_type, which says what differs.
  // References stay good until the object is destroyed, whatever else happens to the segment.

  // Makes a T from the arguments, with the segment's memory for everything in it. Throws
  // already_exists, std::bad_alloc, limit_reached, and whatever T's constructor throws; then there
  // is no such object, and nothing is lost. Waits while somebody else is making or destroying an
  // object of that name.
  template <class T, class... Args>
  T& construct(std::string_view name, Args&&... args) {
    check_type<T>();
    detail::object_making made = make_object(name, detail::facts_of<T>());
    if (made.memory() == nullptr) refuse_existing(name);
    return build<T>(made, std::forward<Args>(args)...);
  }

  // The object of that name; nullptr: there is none, or it is not complete. Throws wrong_type.
  template <class T>
  [[nodiscard]] T* find(std::string_view name) {
    check_type<T>();
    check_writable();
    return static_cast<T*>(find_object(name, detail::facts_of<T>()));
  }
  template <class T>
  [[nodiscard]] const T* find(std::string_view name) const {
    check_type<T>();
    return static_cast<const T*>(find_object(name, detail::facts_of<T>()));
  }

  // The object of that name, made from the arguments if there is none. Of all who call it at once
  // exactly one constructs; the others wait for it, and one of them takes over if it dies or throws.
  template <class T, class... Args>
  T& find_or_construct(std::string_view name, Args&&... args) {
    check_type<T>();
    check_writable();
    for (;;) {
      if (void* const found = find_object(name, detail::facts_of<T>()); found != nullptr)
        return *static_cast<T*>(found);
      detail::object_making made = make_object(name, detail::facts_of<T>());
      if (made.memory() != nullptr) return build<T>(made, std::forward<Args>(args)...);
    }
  }

  // Destroys the object of that name and frees its memory. false: there was none. Nobody may be
  // using it any more. Throws wrong_type.
  template <class T>
  bool destroy(std::string_view name) {
    check_type<T>();
    const detail::object_unmaking unmade = unmake_object(name, detail::facts_of<T>());
    if (unmade.object() == nullptr) return false;
    static_cast<T*>(unmade.object())->~T();
    return true;
  }

  // Calls f(const object_info&) for each complete object, in no particular order. Those that come or
  // go meanwhile may be missed.
  template <std::invocable<const object_info&> F>
  void for_each_object(F&& f) const {
    visit_objects(
        [](void* context, const object_info& object) {
          (*static_cast<std::remove_reference_t<F>*>(context))(object);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(f))));
  }

  // ---- who ----
  // Living processes that take part, this one included; killed ones are not counted.
  [[nodiscard]] std::size_t attached_processes() const;
  // All who are in the table, the dead that nobody has buried among them.
  [[nodiscard]] std::vector<participant_info> processes() const;
  // Buries the dead and frees what they held. Returns how many processes and objects that were.
  // Happens by itself whenever something of theirs is in somebody's way.
  std::size_t recover();

  // ---- itself ----
  [[nodiscard]] std::string_view name() const noexcept;  // "" without one; a file's path
  [[nodiscard]] ipcpp::lifetime lifetime() const;
  // From now on, whoever created it. Throws invalid_argument for a file, which stays.
  void set_lifetime(ipcpp::lifetime chosen);
  // Does the name still lead here? Somebody may have removed it.
  [[nodiscard]] bool reachable() const noexcept;
  [[nodiscard]] bool read_only() const noexcept;
  [[nodiscard]] std::size_t max_size() const noexcept;
  // Stays the segment's.
  [[nodiscard]] native_handle_type native_handle() const noexcept;
  // Over a connected Unix socket, with one byte of data; see receive_handle.
  void send_handle(native_handle_type socket) const;
  // Lives as long as the segment, also when that is moved. Throws access_denied if it is read-only.
  [[nodiscard]] ipcpp::heap& heap() const;
  // Does the address lie in the segment's range, used or not?
  [[nodiscard]] bool contains(const void* address) const noexcept;

 private:
  template <class T>
  static consteval void check_type() {
    static_assert(
        shareable<T>,
        "ipcpp::segment: an object of this type would mean nothing to another process: it "
        "holds a raw pointer, or may hide one; see ipcpp::shareable");
    static_assert(detail::constructible_in_a_segment<T>,
                  "ipcpp::segment: objects with names are no arrays and not const; use std::array");
    static_assert(alignof(T) <= 4096, "ipcpp::segment: an object's alignment is at most 4096");
  }
  template <class T, class... Args>
  T& build(detail::object_making& made, Args&&... args) {
    T* const at = static_cast<T*>(made.memory());
    if constexpr (!std::is_trivially_copyable_v<T>) made.begin();
    detail::builder(allocator<std::byte>(heap())).build(at, std::forward<Args>(args)...);
    made.settle();
    return *at;
  }

  inline explicit segment(detail::segment_state* state) noexcept : state_(state) {}
  void check_writable() const;
  [[noreturn]] void refuse_existing(std::string_view name) const;
  [[nodiscard]] void* find_object(std::string_view name, const detail::type_facts& type) const;
  [[nodiscard]] detail::object_making make_object(std::string_view name,
                                                  const detail::type_facts& type);
  [[nodiscard]] detail::object_unmaking unmake_object(std::string_view name,
                                                      const detail::type_facts& type);
  void visit_objects(void (*f)(void*, const object_info&), void* context) const;

  detail::segment_state* state_ = nullptr;
};

}  // namespace ipcpp
