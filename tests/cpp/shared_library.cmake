# The shared library of test_shared_library.cpp. It and the program hide all symbols that they do not export.
add_library(wslink_shared_library SHARED cpp/shared_library.cpp)
target_link_libraries(wslink_shared_library PRIVATE wslink::cpp wslink_options)
set_target_properties(
  wslink_shared_library test_cpp_shared_library
  PROPERTIES CXX_STANDARD ${WSLINK_TEST_CXX_STANDARD} CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF
             CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
target_link_libraries(test_cpp_shared_library PRIVATE wslink_shared_library)
