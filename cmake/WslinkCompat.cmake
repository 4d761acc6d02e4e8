# The target wslink::compat: the class of Kitware's C++ client, in include/wslink/compat, with the nlohmann_json that it
# needs.
if(NOT TARGET nlohmann_json::nlohmann_json)
  find_package(nlohmann_json 3.8 REQUIRED)
  # Seen by a project around this one too, as wslink::compat is.
  set_target_properties(nlohmann_json::nlohmann_json PROPERTIES IMPORTED_GLOBAL TRUE)
endif()

add_library(wslink_compat INTERFACE)
target_link_libraries(wslink_compat INTERFACE wslink::cpp nlohmann_json::nlohmann_json)
add_library(wslink::compat ALIAS wslink_compat)
