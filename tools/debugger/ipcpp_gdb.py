# Shows ipcpp's pointers and containers in gdb:  (gdb) source ipcpp_gdb.py
#
#   offset_ptr<T>      -> 0x7f..., *p shows the target as a child
#   heap_ptr<T>        heap + 1234
#   basic_string       "text"
#   vector, deque, list, forward_list, set, map, unordered_set, unordered_map, flat_set, flat_map: their elements
#
# Reads the bytes that the containers' units draw, never calls a function of the program: works on core dumps and on
# memory that another process is changing. Whatever leads out of memory, or round in circles, ends the list.
import gdb
import gdb.printing
import gdb.types

MOST = 1 << 20


def address_of(value):
    return int(value.address)


def word_at(address):
    memory = gdb.selected_inferior().read_memory(address, 8)
    return int.from_bytes(bytes(memory), "little")


def signed(word):
    return word - (1 << 64) if word >= 1 << 63 else word


def link_target(address, relative):
    """What a link (containers:links) at that address leads to; 0: nothing."""
    word = word_at(address)
    if not relative:
        return word
    return 0 if word == 1 else (address + signed(word)) % (1 << 64)


def rounded(offset, alignment):
    return (offset + alignment - 1) // alignment * alignment


def alignment_of(type_):
    found = getattr(type_, "alignof", 0)
    return found if found else min(type_.sizeof & -type_.sizeof, 16)


def at(type_, address):
    return gdb.Value(address).cast(type_.pointer()).dereference()


def member(value, name):
    """A member of the value or of one of its bases."""
    for field in value.type.strip_typedefs().fields():
        if field.name == name:
            return value[field]
        if field.is_base_class:
            found = member(value[field], name)
            if found is not None:
                return found
    return None


def is_relative(link):
    return "relative_link" in str(link.type.strip_typedefs())


class OffsetPtr:
    def __init__(self, value):
        self.value = value
        self.target_type = value.type.strip_typedefs().template_argument(0)
        word = word_at(address_of(value))
        self.target = 0 if word == 1 else (address_of(value) + signed(word)) % (1 << 64)

    def to_string(self):
        name = str(self.target_type)
        return "(%s *) %s" % (name, hex(self.target) if self.target else "nullptr")

    def children(self):
        if self.target and self.target_type.code != gdb.TYPE_CODE_VOID:
            yield "*", at(self.target_type, self.target)


class HeapPtr:
    def __init__(self, value):
        self.offset = word_at(address_of(value))
        self.name = str(value.type.strip_typedefs().template_argument(0))

    def to_string(self):
        return "(%s *) %s" % (self.name, "heap + %d" % self.offset if self.offset else "nullptr")


class String:
    def __init__(self, value):
        self.char = value.type.strip_typedefs().template_argument(0)
        self.address = address_of(value)

    def to_string(self):
        unit = self.char.sizeof
        last = word_at(self.address + 24)
        if last >> 63:
            start = (self.address + signed(word_at(self.address + 8))) % (1 << 64)
            size = word_at(self.address + 16)
            if size > MOST or size > last & ~(1 << 63):
                return "<damaged string of %d characters>" % size
        else:
            capacity = 24 // unit - 1
            raw = bytes(gdb.selected_inferior().read_memory(self.address + 8 + capacity * unit, unit))
            start = self.address + 8
            size = capacity - int.from_bytes(raw, "little")
            if size < 0:
                return "<damaged string>"
        text = gdb.Value(start).cast(self.char.pointer())
        return text.lazy_string(length=size) if size else '""'

    def display_hint(self):
        return "string"


class Vector:
    def __init__(self, value):
        self.type = value.type.strip_typedefs().template_argument(0)
        self.size = int(member(value, "size_"))
        self.capacity = int(member(value, "capacity_"))
        link = member(value, "elements_")
        self.first = link_target(address_of(link), is_relative(link))

    def to_string(self):
        return "ipcpp::vector of %d, capacity %d" % (self.size, self.capacity)

    def children(self):
        for i in range(min(self.size, self.capacity, MOST)):
            yield "[%d]" % i, at(self.type, self.first + i * self.type.sizeof)

    def display_hint(self):
        return "array"


class Deque:
    def __init__(self, value):
        self.type = value.type.strip_typedefs().template_argument(0)
        self.size = int(member(value, "size_"))
        self.first = int(member(value, "first_"))
        self.blocks = int(member(value, "blocks_"))
        link = member(value, "table_")
        self.relative = is_relative(link)
        self.table = link_target(address_of(link), self.relative)
        self.block_size = 1
        while 2 * self.block_size * self.type.sizeof <= 1024:
            self.block_size *= 2

    def to_string(self):
        return "ipcpp::deque of %d" % self.size

    def children(self):
        for i in range(min(self.size, MOST)):
            entry, place = divmod(self.first + i, self.block_size)
            if not self.table or entry >= self.blocks:
                return
            block = link_target(self.table + entry * 8, self.relative)
            if not block:
                return
            yield "[%d]" % i, at(self.type, block + place * self.type.sizeof)

    def display_hint(self):
        return "array"


class FlatSet(Vector):
    def __init__(self, value):
        super().__init__(member(value, "keys_"))

    def to_string(self):
        return "ipcpp::flat_set of %d" % self.size


class FlatMap:
    def __init__(self, value):
        self.keys = Vector(member(value, "keys_"))
        self.values = Vector(member(value, "values_"))

    def to_string(self):
        return "ipcpp::flat_map of %d" % self.keys.size

    def children(self):
        for (name, key), (_, value) in zip(self.keys.children(), self.values.children()):
            yield "key " + name, key
            yield "value " + name, value

    def display_hint(self):
        return "map"


class Nodes:
    """What the containers of nodes share: elements by their addresses."""

    kind = "container"
    pairs = False

    def __init__(self, value):
        type_ = value.type.strip_typedefs()
        self.key = type_.template_argument(0)
        self.mapped = type_.template_argument(1) if self.pairs else None
        self.size = int(member(value, "size_"))
        self.value = value
        alignment = alignment_of(self.key)
        if self.pairs:
            alignment = max(alignment, alignment_of(self.mapped))
        self.alignment = alignment

    def to_string(self):
        return "ipcpp::%s of %d" % (self.kind, self.size)

    def elements(self):
        raise NotImplementedError

    def children(self):
        seen = 0
        for node in self.elements():
            if seen >= min(self.size, MOST):
                return
            if self.pairs:
                second = rounded(self.key.sizeof, alignment_of(self.mapped))
                yield "key %d" % seen, at(self.key, node)
                yield "value %d" % seen, at(self.mapped, node + second)
            else:
                yield "[%d]" % seen, at(self.key, node)
            seen += 1

    def display_hint(self):
        return "map" if self.pairs else "array"


class List(Nodes):
    kind = "list"

    def elements(self):
        ring = address_of(member(self.value, "ring_"))
        relative = is_relative(member(self.value, "ring_")["next"])
        node = link_target(ring, relative)
        while node and node != ring:
            yield node + rounded(16, self.alignment)
            node = link_target(node, relative)


class ForwardList(Nodes):
    kind = "forward_list"

    def __init__(self, value):
        self.key = value.type.strip_typedefs().template_argument(0)
        self.value = value
        self.alignment = alignment_of(self.key)
        self.size = MOST  # it does not count

    def to_string(self):
        return "ipcpp::forward_list"

    link_bytes = 8  # before the value in a node

    def elements(self):
        head = member(self.value, "head_")
        relative = is_relative(head["next"])
        node = link_target(address_of(head), relative)
        while node:
            yield node + rounded(self.link_bytes, self.alignment)
            node = link_target(node, relative)


class Unordered(Nodes):
    kind = "unordered_set"
    link_bytes = 16  # the link and the hash
    elements = ForwardList.elements


class UnorderedMap(Unordered):
    kind = "unordered_map"
    pairs = True


class Tree(Nodes):
    kind = "set"

    def elements(self):
        end = address_of(member(self.value, "end_"))
        relative = is_relative(member(self.value, "first_"))
        node = link_target(address_of(member(self.value, "first_")), relative)
        for _ in range(min(self.size, MOST)):
            if not node or node == end:
                return
            yield node + rounded(24, self.alignment)
            node = self.next(node, relative)

    @staticmethod
    def next(node, relative):
        right = link_target(node + 8, relative)
        if right:
            for _ in range(128):
                left = link_target(right, relative)
                if not left:
                    return right
                right = left
            return 0
        for _ in range(128):
            parent = word_at(node + 16) & ~1
            parent = (node + parent) % (1 << 64) if relative else parent
            if link_target(parent, relative) == node:
                return parent
            node = parent
        return 0


class Map(Tree):
    kind = "map"
    pairs = True


OURS = {"is_ipcpp_shareable", "word_", "offset_", "rep_", "elements_", "ring_", "buckets_", "end_",
        "table_", "head_", "keys_"}


class OnlyOurs(gdb.printing.RegexpCollectionPrettyPrinter):
    def __call__(self, value):
        name = str(gdb.types.get_basic_type(value.type))
        if not name.startswith("ipcpp::") and not any(member_type(value.type, n) for n in OURS):
            return None
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
            value = value.referenced_value()
        return super().__call__(value)


def member_type(type_, name):
    """Has the type, or one of its bases, a member of that name?"""
    type_ = gdb.types.get_basic_type(type_)
    if type_.code != gdb.TYPE_CODE_STRUCT:
        return False
    return any(
        field.name == name or (field.is_base_class and member_type(field.type, name))
        for field in type_.fields()
    )


def printers():
    all_ = OnlyOurs("ipcpp")
    for name, printer in (
        ("offset_ptr", OffsetPtr),
        ("heap_ptr", HeapPtr),
        ("basic_string", String),
        ("vector", Vector),
        ("deque", Deque),
        ("list", List),
        ("forward_list", ForwardList),
        ("flat_set", FlatSet),
        ("flat_multiset", FlatSet),
        ("flat_map", FlatMap),
        ("flat_multimap", FlatMap),
        ("set", Tree),
        ("multiset", Tree),
        ("map", Map),
        ("multimap", Map),
        ("unordered_set", Unordered),
        ("unordered_multiset", Unordered),
        ("unordered_map", UnorderedMap),
        ("unordered_multimap", UnorderedMap),
    ):
        # GCC writes the module a name is attached to: offset_ptr@ipcpp.malloc. Of what Clang says of modules gdb 13
        # makes no namespace at all, so such a name counts if it has what only ours have.
        all_.add_printer(name, r"^(ipcpp::)?%s(@[a-z.]+)?<.*>$" % name, printer)
    return all_


gdb.printing.register_pretty_printer(gdb.current_objfile(), printers(), replace=True)
