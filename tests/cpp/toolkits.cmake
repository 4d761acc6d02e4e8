# The tests of the adapters for Qt (both versions) and GLib. They need the toolkits.
#
# Not with ThreadSanitizer: the packages of Qt and GLib are compiled without it, so it does not see how their event loops
# synchronise, and reports events posted between threads as races.
if(WSLINK_SANITIZE MATCHES "thread")
  return()
endif()

find_package(Qt6 REQUIRED COMPONENTS Core Gui)
find_package(Qt5 5.15 REQUIRED COMPONENTS Core Gui)
find_package(PkgConfig REQUIRED)
pkg_check_modules(GLIB REQUIRED IMPORTED_TARGET glib-2.0)

# wslink_toolkit_test(name source libraries...): the test `cpp.name` of cpp/source, against both servers.
function(wslink_toolkit_test name source)
  add_executable(test_cpp_${name} cpp/${source})
  target_link_libraries(test_cpp_${name} PRIVATE wslink::cpp wslink_options Threads::Threads ${ARGN})
  set_target_properties(test_cpp_${name} PROPERTIES CXX_STANDARD ${WSLINK_TEST_CXX_STANDARD} CXX_STANDARD_REQUIRED ON
                                                    CXX_EXTENSIONS OFF)
  add_test(NAME cpp.${name} COMMAND ${wslink_with_servers} $<TARGET_FILE:test_cpp_${name}>)
endfunction()

wslink_toolkit_test(qt test_qt.cpp Qt6::Core)
wslink_toolkit_test(qt_types test_qt_types.cpp Qt6::Gui)
wslink_toolkit_test(qt5 test_qt.cpp Qt5::Core)
wslink_toolkit_test(qt5_types test_qt_types.cpp Qt5::Gui)
wslink_toolkit_test(glib test_glib.cpp PkgConfig::GLIB)
# Moves so many values that valgrind takes a minute without this.
target_compile_options(test_cpp_qt_types PRIVATE -O1)

# The example programs, with each server. Qt draws into memory.
set(wslink_on_each "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/c/with_servers.py" --each URL --)
if(TARGET qt_viewer)
  add_test(NAME example.qt_viewer COMMAND ${wslink_on_each} $<TARGET_FILE:qt_viewer> URL --frames 5)
  set_property(TEST example.qt_viewer PROPERTY ENVIRONMENT QT_QPA_PLATFORM=offscreen)
endif()
if(TARGET glib_loop)
  add_test(NAME example.glib_loop COMMAND ${wslink_on_each} $<TARGET_FILE:glib_loop> URL 5)
endif()
