# Reads WSLINK_VERSION from Cargo.toml, and WSLINK_ABI, the number in the SONAME, from build.rs, so that neither can
# differ from what cargo builds.
get_filename_component(wslink_root "${CMAKE_CURRENT_LIST_DIR}" DIRECTORY)

file(STRINGS "${wslink_root}/Cargo.toml" wslink_line REGEX "^version = \"[0-9]+\\.[0-9]+\\.[0-9]+\"" LIMIT_COUNT 1)
if(NOT wslink_line MATCHES "\"([0-9]+\\.[0-9]+\\.[0-9]+)\"")
  message(FATAL_ERROR "wslink: no version found in ${wslink_root}/Cargo.toml")
endif()
set(WSLINK_VERSION ${CMAKE_MATCH_1})

file(STRINGS "${wslink_root}/build.rs" wslink_line REGEX "^const ABI: &str = " LIMIT_COUNT 1)
if(NOT wslink_line MATCHES "\"([0-9]+)\"")
  message(FATAL_ERROR "wslink: no ABI number found in ${wslink_root}/build.rs")
endif()
set(WSLINK_ABI ${CMAKE_MATCH_1})

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${wslink_root}/Cargo.toml" "${wslink_root}/build.rs")
unset(wslink_line)
unset(wslink_root)
