// The same in C++20.
#include "test_nlohmann.cpp"
