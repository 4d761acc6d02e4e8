# Install rules: component `runtime` (the shared library), `dev` (headers, CMake package, pkg-config file, static
# library) and `tools` (wslink-cli).
include(CMakePackageConfigHelpers)

set(WSLINK_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/wslink" CACHE STRING "Where the CMake package is installed")
mark_as_advanced(WSLINK_CMAKE_DIR)

# The library, then the links, which install() does not resolve.
set(wslink_runtime ${WSLINK_FILE})
set(wslink_links_dev ${WSLINK_LINKS})
if(NOT WIN32)
  # Programs use the link with the number, the linker the one without it.
  list(APPEND wslink_runtime ${WSLINK_SONAME})
  list(REMOVE_ITEM wslink_links_dev ${WSLINK_SONAME})
endif()
if(WIN32)
  set(wslink_library_dir "${CMAKE_INSTALL_BINDIR}")
else()
  set(wslink_library_dir "${CMAKE_INSTALL_LIBDIR}")
endif()
list(TRANSFORM wslink_runtime PREPEND "${WSLINK_LIB_DIR}/")
if(CMAKE_INSTALL_SO_NO_EXE)
  install(FILES ${wslink_runtime} DESTINATION "${wslink_library_dir}" COMPONENT runtime)
else()
  install(PROGRAMS ${wslink_runtime} DESTINATION "${wslink_library_dir}" COMPONENT runtime)
endif()
# `cmake --install --strip` and cpack strip only files that CMake itself has built.
if(CMAKE_STRIP AND NOT WIN32)
  set(wslink_installed "\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${wslink_library_dir}")
  if(IS_ABSOLUTE "${wslink_library_dir}")
    set(wslink_installed "\$ENV{DESTDIR}${wslink_library_dir}")
  endif()
  set(wslink_strip_options "--strip-unneeded")
  if(APPLE)
    set(wslink_strip_options "-x")
  endif()
  install(
    CODE "if(CMAKE_INSTALL_DO_STRIP)
  execute_process(COMMAND \"${CMAKE_STRIP}\" ${wslink_strip_options} \"${wslink_installed}/${WSLINK_FILE}\" COMMAND_ERROR_IS_FATAL ANY)
endif()"
    COMPONENT runtime)
endif()

set(wslink_dev ${wslink_links_dev} ${WSLINK_IMPLIB})
if(WSLINK_BUILD_STATIC)
  list(APPEND wslink_dev ${WSLINK_STATIC_FILE})
  install(FILES "${WSLINK_LIB_DIR}/wslink-native-libs.cmake" DESTINATION "${WSLINK_CMAKE_DIR}" COMPONENT dev)
endif()
list(TRANSFORM wslink_dev PREPEND "${WSLINK_LIB_DIR}/")
install(FILES ${wslink_dev} DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT dev)

install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/include/"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT dev
  FILES_MATCHING
  PATTERN "*.h"
  PATTERN "*.hpp")

# Not on Windows, whose compilers have no ThreadSanitizer.
if(NOT WIN32)
  install(FILES "${PROJECT_SOURCE_DIR}/cmake/tsan.supp" DESTINATION "${CMAKE_INSTALL_DATADIR}/wslink" COMPONENT dev)
endif()

configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/wslink-config.cmake.in" "${PROJECT_BINARY_DIR}/wslink-config.cmake"
  INSTALL_DESTINATION "${WSLINK_CMAKE_DIR}"
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_BINDIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
# Before 1.0 each minor version has its own ABI and API.
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(wslink_compatibility SameMinorVersion)
else()
  set(wslink_compatibility SameMajorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/wslink-config-version.cmake"
                                 COMPATIBILITY ${wslink_compatibility})
install(
  FILES "${PROJECT_BINARY_DIR}/wslink-config.cmake" "${PROJECT_BINARY_DIR}/wslink-config-version.cmake"
  DESTINATION "${WSLINK_CMAKE_DIR}"
  COMPONENT dev)

# The paths in wslink.pc are relative to the file, so that the installed tree can be moved.
set(wslink_pc_dir "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(WSLINK_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
  set(WSLINK_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
else()
  file(RELATIVE_PATH wslink_up "/prefix/${wslink_pc_dir}" "/prefix")
  string(REGEX REPLACE "/$" "" wslink_up "${wslink_up}")
  set(WSLINK_PC_PREFIX "\${pcfiledir}/${wslink_up}")
  set(WSLINK_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(WSLINK_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
else()
  set(WSLINK_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
if(WSLINK_BUILD_STATIC)
  # The native libraries are known only after the build, so installation writes the line that names them.
  set(WSLINK_PC_LIBS_PRIVATE "Libs.private: @WSLINK_NATIVE_LIBS@")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/wslink.pc.in" "${PROJECT_BINARY_DIR}/wslink.pc.in" @ONLY)
  install(
    CODE "include(\"${WSLINK_LIB_DIR}/wslink-native-libs.cmake\")
configure_file(\"${PROJECT_BINARY_DIR}/wslink.pc.in\" \"${PROJECT_BINARY_DIR}/wslink.pc\" @ONLY)"
    COMPONENT dev)
else()
  set(WSLINK_PC_LIBS_PRIVATE "")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/wslink.pc.in" "${PROJECT_BINARY_DIR}/wslink.pc" @ONLY)
endif()
install(FILES "${PROJECT_BINARY_DIR}/wslink.pc" DESTINATION "${wslink_pc_dir}" COMPONENT dev)

# The license file of each Debian package, in its own folder.
if(CMAKE_INSTALL_SO_NO_EXE)
  foreach(package IN ITEMS "runtime:libwslink${WSLINK_ABI}" dev:libwslink-dev tools:wslink-cli)
    string(REPLACE ":" ";" package "${package}")
    list(POP_FRONT package component)
    if(NOT component STREQUAL tools OR TARGET wslink-cli)
      install(FILES "${PROJECT_SOURCE_DIR}/cmake/debian/copyright" DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/doc/${package}"
              COMPONENT ${component})
    endif()
  endforeach()
endif()

if(TARGET wslink-cli)
  # It finds the library relative to its own place, so it starts from every prefix, and the installed tree can be moved.
  # Packagers who do not want this set CMAKE_SKIP_INSTALL_RPATH.
  if(NOT WIN32)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_BINDIR}")
      set(wslink_rpath "${CMAKE_INSTALL_FULL_LIBDIR}")
    else()
      set(wslink_rpath "\$ORIGIN")
      if(APPLE)
        set(wslink_rpath "@loader_path")
      endif()
      file(RELATIVE_PATH wslink_to_lib "/prefix/${CMAKE_INSTALL_BINDIR}" "/prefix/${CMAKE_INSTALL_LIBDIR}")
      string(APPEND wslink_rpath "/${wslink_to_lib}")
    endif()
    set_property(TARGET wslink-cli APPEND PROPERTY INSTALL_RPATH "${wslink_rpath}")
  endif()
  install(TARGETS wslink-cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tools)
endif()

if(wslink_top_level)
  add_custom_target(
    uninstall
    COMMAND "${CMAKE_COMMAND}" "-DMANIFEST_DIR=${PROJECT_BINARY_DIR}" -P "${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake"
    COMMENT "Removing what was installed"
    VERBATIM)
endif()
