# wslink_options: the compile options of the examples and tests. They link to this target, so that the targets of a
# surrounding project are not affected.
add_library(wslink_options INTERFACE)
if(MSVC)
  target_compile_options(wslink_options INTERFACE /W4 $<$<BOOL:${WSLINK_WERROR}>:/WX>)
else()
  target_compile_options(wslink_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow $<$<BOOL:${WSLINK_WERROR}>:-Werror>)
endif()

if(WSLINK_SANITIZE)
  string(REPLACE ";" "," wslink_sanitizers "${WSLINK_SANITIZE}")
  if(NOT wslink_sanitizers MATCHES "^(address|undefined|address,undefined|undefined,address|thread)$")
    message(FATAL_ERROR "WSLINK_SANITIZE is \"${WSLINK_SANITIZE}\"; use address, undefined, address;undefined or thread")
  endif()
  target_compile_options(wslink_options INTERFACE -fsanitize=${wslink_sanitizers} -fno-omit-frame-pointer
                                                  -fno-sanitize-recover=all -g)
  if(WSLINK_SANITIZER_RUNTIME)
    target_link_options(wslink_options INTERFACE -rdynamic)
    target_link_libraries(
      wslink_options INTERFACE "-Wl,--whole-archive" "${WSLINK_SANITIZER_RUNTIME}" "-Wl,--no-whole-archive"
                               -lpthread -ldl -lrt -lm -lresolv)
  else()
    target_link_options(wslink_options INTERFACE -fsanitize=${wslink_sanitizers})
  endif()
endif()

find_package(Threads REQUIRED)
