# A module's interface as Doxygen understands it; see doxygen.cmake. sed -E -f.

# The unit's story is the file's.
1{
i\
/// \\file
}
# What only modules have.
/^module;$/d
/^export module /d
/^module [a-z]/d
/^(export )?import /d
# Specialisations of the standard's templates: Doxygen looks for these in vain, and there is nothing of ours to read in them.
/^template <.*>$/{
N
/\n(struct|class) std::/{
:more
/\};$/!{
N
b more
}
d
}
P
D
}
s/^( *)export (using|class|struct|enum|template|inline|constexpr|\[\[|extern|void|bool|auto|std|[a-z_]+)/\1\2/

# Comments before something; pictures and code (indented by three) as they are.
s|^( *)//  ( +)|\1///    \2|
t
s|^( *)// ?([^/])|\1/// \2|
t
s|^( *)//$|\1///|
t
# Comments behind something.
s|^(.*[;,{(].*[^:"])  // (.*)$|\1  ///< \2|
