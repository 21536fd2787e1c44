# Runs the acceptance program shop: a clerk and a customer at the same time, in a segment of their own.
#   cmake -DSHOP=PROGRAM -P shop.cmake
string(RANDOM LENGTH 12 ALPHABET abcdefghijklmnopqrstuvwxyz name)
# The commands run side by side; the output is the last one's.
execute_process(COMMAND ${SHOP} customer shop.${name} COMMAND ${SHOP} clerk shop.${name}
  OUTPUT_VARIABLE said RESULTS_VARIABLE results TIMEOUT 60)
if(NOT said STREQUAL "sold 1000, apples left 500\n" OR NOT results STREQUAL "0;0")
  message(FATAL_ERROR "the clerk said \"${said}\", results ${results}")
endif()
