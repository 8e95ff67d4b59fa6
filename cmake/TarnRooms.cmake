# The rooms, the library made of them, the program, installation.

set(TARN_OBJECTS "")
set(TARN_PACKAGES PkgConfig::YAML PkgConfig::CRYPTO PkgConfig::ZLIB PkgConfig::HDF5 PkgConfig::MPI PkgConfig::XXHASH PkgConfig::CJSON)

# Fast kernels are files named kernel.c (ops) or *_fast.c (elsewhere); scalar references reference.c or *_reference.c;
# cases.c belongs to the tests.
set(TARN_ROOMS runtime ops nn optim data checkpoint track train)
foreach(room ${TARN_ROOMS})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${room}/*.c)
  set(fast ${sources})
  list(FILTER fast INCLUDE REGEX "(/kernel|_fast)\\.c$")
  set(reference ${sources})
  list(FILTER reference INCLUDE REGEX "(/reference|_reference)\\.c$")
  list(FILTER sources EXCLUDE REGEX "(/kernel|_fast|/reference|_reference|/cases|/test_[a-z_]*)\\.c$")
  if(sources)
    add_library(tarn_${room} OBJECT ${sources})
    list(APPEND TARN_OBJECTS tarn_${room})
  endif()
  if(fast)
    tarn_fast_kernels(tarn_${room}_fast ${fast})
  endif()
  if(reference)
    tarn_references(tarn_${room}_reference ${reference})
  endif()
endforeach()

set(tarn_all_objects "")
foreach(object_library ${TARN_OBJECTS})
  foreach(package ${TARN_PACKAGES})
    target_include_directories(${object_library} SYSTEM PRIVATE $<TARGET_PROPERTY:${package},INTERFACE_INCLUDE_DIRECTORIES>)
  endforeach()
  foreach(package PkgConfig::CURL PkgConfig::MICROHTTPD) # headers alone
    target_include_directories(${object_library} SYSTEM PRIVATE $<TARGET_PROPERTY:${package},INTERFACE_INCLUDE_DIRECTORIES>)
  endforeach()
  target_compile_definitions(${object_library} PRIVATE TARN_NO_CALL_SITES=1) # these define the ops; see tarn/ops.h
  list(APPEND tarn_all_objects $<TARGET_OBJECTS:${object_library}>)
endforeach()

# The library users link: only TARN_API symbols are visible.
add_library(tarn SHARED ${tarn_all_objects})
target_link_libraries(tarn PRIVATE ${TARN_PACKAGES} Threads::Threads m dl)
target_include_directories(tarn INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
set_target_properties(tarn PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
                                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

# The same objects for tests and the program, which look behind the public face.
add_library(tarn_internal STATIC ${tarn_all_objects})
target_link_libraries(tarn_internal PUBLIC ${TARN_PACKAGES} Threads::Threads m dl)

# The program: main.c, and the rest of launch as a library that tests link, too.
file(GLOB_RECURSE launch_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/launch/*.c)
list(FILTER launch_sources EXCLUDE REGEX "/launch/main\\.c$")
if(launch_sources)
  add_library(tarn_launch STATIC ${launch_sources})
  target_link_libraries(tarn_launch PUBLIC tarn_internal PkgConfig::CJSON)
  add_executable(tarn_program ${CMAKE_SOURCE_DIR}/launch/main.c)
  set_target_properties(tarn_program PROPERTIES OUTPUT_NAME tarn RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_link_libraries(tarn_program PRIVATE tarn_launch)
  install(TARGETS tarn_program RUNTIME DESTINATION bin)
endif()

include(GNUInstallDirs)
install(TARGETS tarn LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/tarn DESTINATION include)
install(PROGRAMS ${CMAKE_SOURCE_DIR}/launch/slurm/train.sbatch DESTINATION ${CMAKE_INSTALL_DATADIR}/tarn/slurm)
# tarn launch render slurm begins with the shipped script, which the program carries.
set_source_files_properties(${CMAKE_SOURCE_DIR}/launch/render/slurm.c PROPERTIES
  OBJECT_DEPENDS ${CMAKE_SOURCE_DIR}/launch/slurm/train.sbatch
  COMPILE_DEFINITIONS TARN_TRAIN_SBATCH="${CMAKE_SOURCE_DIR}/launch/slurm/train.sbatch")
file(RELATIVE_PATH TARN_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(${CMAKE_SOURCE_DIR}/cmake/tarn.pc.in ${CMAKE_BINARY_DIR}/tarn.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tarn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
