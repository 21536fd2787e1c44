# The target `docs`: the interfaces and the documents as HTML, in docs_html/ of the build folder. Only where Doxygen is.
#
#   cmake --build build/linux-clang-debug --target docs
#
# Our comments are plain `//` and Doxygen wants marks of its own; old ones do not know modules either. The filter
# (doxygen.sed) makes both out of what is there, for Doxygen's eyes only.
find_package(Doxygen 1.9 QUIET)
if(NOT TARGET Doxygen::doxygen)
  return()
endif()
set(DOXYGEN_PROJECT_NAME ipcpp)
set(DOXYGEN_PROJECT_BRIEF "Live data and messages between processes")
set(DOXYGEN_HTML_OUTPUT ${PROJECT_BINARY_DIR}/docs_html)
set(DOXYGEN_GENERATE_LATEX NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_EXTRACT_ALL YES)
set(DOXYGEN_WARN_IF_UNDOCUMENTED NO)
set(DOXYGEN_WARN_IF_DOC_ERROR NO)
set(DOXYGEN_EXTENSION_MAPPING cppm=C++)
set(DOXYGEN_FILE_PATTERNS *.cppm *.md)
set(DOXYGEN_FILTER_PATTERNS "*.cppm=sed -E -f ${PROJECT_SOURCE_DIR}/cmake/doxygen.sed")
set(DOXYGEN_USE_MDFILE_AS_MAINPAGE ${PROJECT_SOURCE_DIR}/README.md)
set(DOXYGEN_EXCLUDE_SYMBOLS ipcpp::detail* ipcpp::platform::detail*)
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR})
set(DOXYGEN_IMAGE_PATH ${PROJECT_SOURCE_DIR}/docs)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_PREDEFINED __linux__=1)
set(DOXYGEN_SORT_MEMBER_DOCS NO)
set(DOXYGEN_MARKDOWN_SUPPORT YES)
set(DOXYGEN_DISABLE_INDEX NO)
set(DOXYGEN_GENERATE_TREEVIEW YES)
doxygen_add_docs(docs ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/CHANGELOG.md ${PROJECT_SOURCE_DIR}/docs
  ${PROJECT_SOURCE_DIR}/modules COMMENT "The documents and the interfaces as HTML: ${DOXYGEN_HTML_OUTPUT}")
