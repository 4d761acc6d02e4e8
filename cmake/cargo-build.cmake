# Runs cargo and copies its libraries to LIB_DIR; see WslinkLibrary.cmake for the variables.
cmake_minimum_required(VERSION 3.20)

# Only the requested crate types, because each further type is optimised separately.
set(types cdylib)
set(arguments --profile ${PROFILE} --target-dir "${TARGET_DIR}" --manifest-path "${SOURCE_DIR}/Cargo.toml")
if(TARGET)
  list(APPEND arguments --target ${TARGET})
endif()
if(OFFLINE)
  list(APPEND arguments --offline)
endif()
set(rustc_arguments "")
set(native "${LIB_DIR}/native-static-libs.txt")
if(STATIC)
  set(types "cdylib,staticlib")
  set(rustc_arguments -- --print "native-static-libs=${native}")
endif()

# make closes the descriptors of its job server for other commands, and cargo would complain.
unset(ENV{MAKEFLAGS})
unset(ENV{MFLAGS})

file(MAKE_DIRECTORY "${LIB_DIR}")
# The messages contain the path of the library, whatever target or directory the user's cargo configuration sets.
execute_process(
  COMMAND "${CARGO}" rustc --locked --lib --crate-type ${types} --message-format json-render-diagnostics ${arguments}
          ${ARGS} ${rustc_arguments}
  WORKING_DIRECTORY "${SOURCE_DIR}"
  OUTPUT_VARIABLE messages
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "wslink: cargo failed (${status}); its messages are above")
endif()

# Copies a built file, found by its name in cargo's messages.
function(take name to)
  string(REPLACE "." "\\." pattern "${name}")
  if(NOT messages MATCHES "\"([^\"]*[/\\]${pattern})\"")
    message(FATAL_ERROR "wslink: cargo did not say where it put ${name}")
  endif()
  string(REPLACE "\\\\" "/" from "${CMAKE_MATCH_1}")
  execute_process(COMMAND "${CMAKE_COMMAND}" -E copy_if_different "${from}" "${LIB_DIR}/${to}" RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "wslink: could not copy ${from}")
  endif()
endfunction()

take(${BUILT} ${FILE})
if(IMPLIB)
  take(${IMPLIB} ${IMPLIB})
endif()
# Each link points to the previous one, like those of ldconfig.
set(to ${FILE})
foreach(link IN LISTS LINKS)
  file(CREATE_LINK ${to} "${LIB_DIR}/${link}" SYMBOLIC)
  set(to ${link})
endforeach()

if(STATIC)
  take(${STATIC} ${STATIC})
  file(READ "${native}" libraries)
  string(STRIP "${libraries}" libraries)
  file(WRITE "${LIB_DIR}/native-libs.txt" "${libraries}\n")
  file(WRITE "${LIB_DIR}/wslink-native-libs.cmake" "set(WSLINK_NATIVE_LIBS \"${libraries}\")\n")
endif()
