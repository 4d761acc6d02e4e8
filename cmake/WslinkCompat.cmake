# The target wslink::compat: the class of Kitware's C++ client, in include/wslink/compat, with the nlohmann_json and the
# threads library that it needs.
set(wslink_found "")
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json 3.8 REQUIRED)
  list(APPEND wslink_found nlohmann_json::nlohmann_json)
endif()
if(NOT TARGET Threads::Threads)
  find_package(Threads REQUIRED)
  list(APPEND wslink_found Threads::Threads)
endif()
# A surrounding project must see it too, like wslink::compat. Targets from FetchContent are visible already.
foreach(wslink_target IN LISTS wslink_found)
  get_target_property(wslink_imported ${wslink_target} IMPORTED)
  if(wslink_imported)
    set_target_properties(${wslink_target} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endforeach()

add_library(wslink_compat INTERFACE)
target_link_libraries(wslink_compat INTERFACE wslink::cpp nlohmann_json::nlohmann_json Threads::Threads)
add_library(wslink::compat ALIAS wslink_compat)
