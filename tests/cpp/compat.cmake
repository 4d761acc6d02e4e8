# The compatibility class: its tests, and a program in the style of Kitware's C++ client.
target_link_libraries(test_cpp_compat PRIVATE wslink::compat)

add_executable(chat_compat consumer/project/chat.cpp)
target_link_libraries(chat_compat PRIVATE wslink::compat wslink_options)
set_target_properties(chat_compat PROPERTIES CXX_STANDARD ${WSLINK_TEST_CXX_STANDARD} CXX_STANDARD_REQUIRED ON
                                             CXX_EXTENSIONS OFF)
add_test(NAME cpp.chat_compat
         COMMAND "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/c/with_servers.py" --each URL --
                 $<TARGET_FILE:chat_compat> URL hello world)
