# SPDX-License-Identifier: Apache-2.0
# How this project makes targets. One call per room, plugin or test; the LINKS are the arrows of docs/MAP.md.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(ENGRAM_PLUGIN_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/engram/plugins)
set(ENGRAM_TEST_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
# -O2 -g without -DNDEBUG noise: assertions are for programmer errors and cheap, so they stay in shipped builds.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()
find_program(ENGRAM_CCACHE ccache)
if(ENGRAM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${ENGRAM_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ENGRAM_CCACHE})
endif()

add_library(engram_options INTERFACE)
target_compile_options(engram_options INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>)
if(ENGRAM_WARNINGS_AS_ERRORS)
  target_compile_options(engram_options INTERFACE -Werror)
endif()
if(ENGRAM_SANITIZE)
  target_compile_options(engram_options INTERFACE -fsanitize=${ENGRAM_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(engram_options INTERFACE -fsanitize=${ENGRAM_SANITIZE})
  # With a sanitizer's code in between, g++ 12 takes Beast's empty boost::optional for uninitialised memory and, inlining
  # only one of the two, Asio's own allocation of coroutine frames for mismatched.
  target_compile_options(engram_options INTERFACE -Wno-maybe-uninitialized
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
  if(ENGRAM_SANITIZE MATCHES thread)
    # g++ 12 warns that TSan does not model std::atomic_thread_fence; we use none, Boost.Asio does.
    target_compile_options(engram_options INTERFACE -Wno-tsan)
  endif()
endif()

if(ENGRAM_FUZZ)
  # Plugins are other modules, where clang takes functions and objects of the same type for different ones.
  target_compile_options(engram_options INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize=function,vptr
    -Wno-unknown-warning-option)
endif()

# engram_room(NAME SOURCES ... LINKS ...): a static library engram_NAME of the daemon; includes are relative to daemon/.
function(engram_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(engram_${name} STATIC ${ARG_SOURCES})
  target_include_directories(engram_${name} PUBLIC ${PROJECT_SOURCE_DIR}/daemon)
  target_link_libraries(engram_${name} PUBLIC ${ARG_LINKS} PRIVATE engram_options)
endfunction()

# engram_plugin(NAME SOURCES ... LINKS ... [SUBDIRECTORY dir]): a shared object lib/engram/plugins/[dir/]NAME.so of the
# build folder.
function(engram_plugin name)
  cmake_parse_arguments(ARG "" "SUBDIRECTORY" "SOURCES;LINKS" ${ARGN})
  add_library(${name} MODULE ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${ENGRAM_PLUGIN_OUTPUT_DIRECTORY}/${ARG_SUBDIRECTORY})
  target_link_libraries(${name} PRIVATE engram_sdk ${ARG_LINKS} engram_options)
  # A plugin shows one symbol; everything else, also of static libraries in it, stays inside. Without that, g++'s unique
  # symbols (static locals of inline functions) would keep the library from ever being unloaded.
  target_link_options(${name} PRIVATE -Wl,--exclude-libs,ALL
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/plugin.map)
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/plugin.map)
endfunction()

# engram_test(NAME SOURCES ... LINKS ... [DEPENDS targets]): a GoogleTest program, one ctest entry per program. What tests
# of several rooms need is in tests/support.
function(engram_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${ENGRAM_TEST_OUTPUT_DIRECTORY})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} engram_options GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE
    ENGRAM_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    ENGRAM_TEST_PLUGIN_DIR="${ENGRAM_PLUGIN_OUTPUT_DIRECTORY}"
    ENGRAM_TEST_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600)
endfunction()

# engram_wrap_file_calls(TEST): tests/support/fault_files.h works in that test.
function(engram_wrap_file_calls name)
  target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/fault_files.cc)
  foreach(call copy_file_range fallocate fsync ftruncate linkat open pwrite rename)
    target_link_options(${name} PRIVATE -Wl,--wrap=${call})
  endforeach()
endfunction()
