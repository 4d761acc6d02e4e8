# The target wslink_docs: the reference of the C and C++ API in HTML. A warning, such as for a public item without
# documentation, is an error.
find_package(Doxygen REQUIRED)

set(WSLINK_DOCS_DIR "${PROJECT_BINARY_DIR}/docs")
configure_file("${PROJECT_SOURCE_DIR}/docs/Doxyfile.in" "${PROJECT_BINARY_DIR}/Doxyfile" @ONLY)
file(MAKE_DIRECTORY "${WSLINK_DOCS_DIR}")
add_custom_target(
  wslink_docs
  COMMAND Doxygen::doxygen "${PROJECT_BINARY_DIR}/Doxyfile"
  COMMENT "Writing the reference to ${WSLINK_DOCS_DIR}/html/index.html"
  VERBATIM)
