# Files that are compiled more than once: fast kernels per ISA, scalar references per element type.

set(TARN_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(TARN_FLAGS_avx512 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma -mf16c)

# tarn_fast_kernels(TARGET file...): one object library per ISA with TARN_ISA_NAME and TARN_ISA_<ISA> defined.
function(tarn_fast_kernels target)
  foreach(isa avx2 avx512)
    add_library(${target}_${isa} OBJECT ${ARGN})
    target_compile_options(${target}_${isa} PRIVATE -O3 ${TARN_FLAGS_${isa}})
    target_compile_definitions(${target}_${isa} PRIVATE TARN_ISA_NAME=${isa} TARN_ISA_IS_${isa}=1)
    list(APPEND TARN_OBJECTS ${target}_${isa})
  endforeach()
  set(TARN_OBJECTS ${TARN_OBJECTS} PARENT_SCOPE)
endfunction()

# tarn_references(TARGET file...): one object library for float and one for double.
function(tarn_references target)
  foreach(double 0 1)
    add_library(${target}_f${double} OBJECT ${ARGN})
    target_compile_options(${target}_f${double} PRIVATE -O2)
    target_compile_definitions(${target}_f${double} PRIVATE TARN_REAL_IS_DOUBLE=${double})
    list(APPEND TARN_OBJECTS ${target}_f${double})
  endforeach()
  set(TARN_OBJECTS ${TARN_OBJECTS} PARENT_SCOPE)
endfunction()
