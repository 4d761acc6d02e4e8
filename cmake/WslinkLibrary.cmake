# The targets wslink::wslink, wslink::cpp and, if enabled, wslink::static. Cargo builds the libraries; a command copies
# them to lib/ of the build tree, with the names and links that they will have when installed.

find_program(
  WSLINK_CARGO
  NAMES "$ENV{CARGO}" cargo
  HINTS "$ENV{CARGO_HOME}/bin" "$ENV{HOME}/.cargo/bin" "$ENV{USERPROFILE}/.cargo/bin"
  DOC "The cargo that builds wslink")
if(NOT WSLINK_CARGO)
  message(FATAL_ERROR "wslink is written in Rust and needs cargo to be built, which was not found. "
                      "Install Rust (https://rustup.rs), or set WSLINK_CARGO to the path of cargo.")
endif()

# File names. WSLINK_FILE is the library, the others are links to it.
set(WSLINK_IMPLIB "")
set(WSLINK_STATIC_FILE libwslink.a)
if(WIN32)
  set(WSLINK_BUILT wslink.dll)
  set(WSLINK_FILE wslink.dll)
  set(WSLINK_LINKS "")
  # Cargo's targets *-msvc and *-gnu name the files differently.
  set(WSLINK_IMPLIB libwslink.dll.a)
  if(MSVC)
    set(WSLINK_IMPLIB wslink.dll.lib)
    set(WSLINK_STATIC_FILE wslink.lib)
  endif()
elseif(APPLE)
  set(WSLINK_BUILT libwslink.dylib)
  set(WSLINK_FILE libwslink.${PROJECT_VERSION}.dylib)
  set(WSLINK_SONAME libwslink.${WSLINK_ABI}.dylib)
  set(WSLINK_LINKS ${WSLINK_SONAME} libwslink.dylib)
else()
  set(WSLINK_BUILT libwslink.so)
  set(WSLINK_FILE libwslink.so.${WSLINK_ABI}.${PROJECT_VERSION})
  # libwslink.so.0.1.0, not .so.0.0.1.0: before 1.0 the ABI number is the major version.
  if(WSLINK_ABI EQUAL PROJECT_VERSION_MAJOR)
    set(WSLINK_FILE libwslink.so.${PROJECT_VERSION})
  endif()
  set(WSLINK_SONAME libwslink.so.${WSLINK_ABI})
  set(WSLINK_LINKS ${WSLINK_SONAME} libwslink.so)
endif()

get_property(wslink_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
set(WSLINK_LIB_DIR "${PROJECT_BINARY_DIR}/lib")
if(wslink_multi_config)
  string(APPEND WSLINK_LIB_DIR "/$<CONFIG>")
endif()

set(wslink_profile "$<IF:$<CONFIG:Debug>,dev,release>")
if(WSLINK_CARGO_PROFILE)
  set(wslink_profile "${WSLINK_CARGO_PROFILE}")
endif()
set(wslink_products ${WSLINK_FILE} ${WSLINK_LINKS} ${WSLINK_IMPLIB})
if(WSLINK_BUILD_STATIC)
  list(APPEND wslink_products ${WSLINK_STATIC_FILE})
endif()
list(TRANSFORM wslink_products PREPEND "${WSLINK_LIB_DIR}/")

file(
  GLOB_RECURSE wslink_sources CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/src/*.rs")
set(wslink_stamp "${WSLINK_LIB_DIR}/built.stamp")
add_custom_command(
  OUTPUT "${wslink_stamp}"
  BYPRODUCTS ${wslink_products}
  COMMAND
    "${CMAKE_COMMAND}" "-DCARGO=${WSLINK_CARGO}" "-DSOURCE_DIR=${PROJECT_SOURCE_DIR}" "-DLIB_DIR=${WSLINK_LIB_DIR}"
    "-DPROFILE=${wslink_profile}" "-DTARGET_DIR=${WSLINK_CARGO_TARGET_DIR}" "-DTARGET=${WSLINK_CARGO_TARGET}"
    "-DOFFLINE=${WSLINK_CARGO_OFFLINE}" "-DARGS=${WSLINK_CARGO_ARGS}" "-DBUILT=${WSLINK_BUILT}"
    "-DFILE=${WSLINK_FILE}" "-DLINKS=${WSLINK_LINKS}" "-DIMPLIB=${WSLINK_IMPLIB}"
    "-DSTATIC=$<$<BOOL:${WSLINK_BUILD_STATIC}>:${WSLINK_STATIC_FILE}>" -P
    "${PROJECT_SOURCE_DIR}/cmake/cargo-build.cmake"
  COMMAND "${CMAKE_COMMAND}" -E touch "${wslink_stamp}"
  DEPENDS ${wslink_sources} "${PROJECT_SOURCE_DIR}/Cargo.toml" "${PROJECT_SOURCE_DIR}/Cargo.lock"
          "${PROJECT_SOURCE_DIR}/build.rs" "${PROJECT_SOURCE_DIR}/cmake/cargo-build.cmake"
  COMMENT "Building wslink with cargo"
  USES_TERMINAL VERBATIM)
add_custom_target(wslink_cargo ALL DEPENDS "${wslink_stamp}")

# Multi-config generators need the location of each configuration.
function(wslink_locations target property path)
  if(wslink_multi_config)
    foreach(config IN LISTS CMAKE_CONFIGURATION_TYPES)
      string(TOUPPER "${config}" upper)
      string(REPLACE "$<CONFIG>" "${config}" location "${path}")
      set_property(TARGET ${target} PROPERTY ${property}_${upper} "${location}")
      set_property(TARGET ${target} APPEND PROPERTY IMPORTED_CONFIGURATIONS ${upper})
    endforeach()
  else()
    set_property(TARGET ${target} PROPERTY ${property} "${path}")
  endif()
endfunction()

add_library(wslink::wslink SHARED IMPORTED GLOBAL)
add_dependencies(wslink::wslink wslink_cargo)
set_target_properties(wslink::wslink PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include"
                                                INTERFACE_COMPILE_DEFINITIONS "$<$<BOOL:${WIN32}>:WSLINK_SHARED>")
if(wslink_top_level)
  # Compilers do not warn about headers of an imported library by default; in this project they should (CMake 3.23).
  set_property(TARGET wslink::wslink PROPERTY IMPORTED_NO_SYSTEM ON)
endif()
wslink_locations(wslink::wslink IMPORTED_LOCATION "${WSLINK_LIB_DIR}/${WSLINK_FILE}")
if(WSLINK_IMPLIB)
  wslink_locations(wslink::wslink IMPORTED_IMPLIB "${WSLINK_LIB_DIR}/${WSLINK_IMPLIB}")
else()
  wslink_locations(wslink::wslink IMPORTED_SONAME "${WSLINK_SONAME}")
endif()

if(WSLINK_BUILD_STATIC)
  add_library(wslink::static STATIC IMPORTED GLOBAL)
  add_dependencies(wslink::static wslink_cargo)
  # The native libraries that it needs are known only after it was built, so the linker reads them from a file.
  set_target_properties(
    wslink::static PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_SOURCE_DIR}/include"
                              INTERFACE_LINK_LIBRARIES "-Wl,@${WSLINK_LIB_DIR}/native-libs.txt")
  wslink_locations(wslink::static IMPORTED_LOCATION "${WSLINK_LIB_DIR}/${WSLINK_STATIC_FILE}")
endif()

# Set as properties, because target_compile_features() needs a C++ compiler even in a project in C.
add_library(wslink_cpp INTERFACE)
set_target_properties(wslink_cpp PROPERTIES INTERFACE_LINK_LIBRARIES wslink::wslink INTERFACE_COMPILE_FEATURES
                                                                                    cxx_std_17)
add_library(wslink::cpp ALIAS wslink_cpp)
