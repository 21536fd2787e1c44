# Runs one acceptance program and checks what it says and that it ends with 0.
#   cmake -DPROGRAM=NAME -DFILE=EXECUTABLE [-DEMULATOR=COMMAND...] [-DWINDOWS=1] -P run.cmake
#
# Most say "ok" at last. The shop is run as a clerk and a customer at the same time, in a segment of their own; word_index
# counts the words of a text that is written here, with two builders at once. On Windows a segment goes with its last user,
# so word_index's builders only have to end with 0 and its queries to answer in the right form.
string(RANDOM LENGTH 12 ALPHABET abcdefghijklmnopqrstuvwxyz random)
set(segment acceptance.${random})
set(run ${EMULATOR} ${FILE})

# check(ACTUAL EXPECTED): wholly, as a regular expression.
function(check actual expected)
  string(REPLACE "\r\n" "\n" actual "${actual}")
  if(NOT actual MATCHES "^(${expected})$")
    message(FATAL_ERROR "${PROGRAM} said \"${actual}\", not \"${expected}\"")
  endif()
endfunction()
function(check_results results)
  if(NOT results MATCHES "^0(;0)*$")
    message(FATAL_ERROR "${PROGRAM} ended with ${results}")
  endif()
endfunction()

if(PROGRAM STREQUAL "shop")
  # The commands run side by side; the output is the last one's.
  execute_process(COMMAND ${run} customer ${segment} COMMAND ${run} clerk ${segment}
    OUTPUT_VARIABLE said RESULTS_VARIABLE results TIMEOUT 240)
  check_results("${results}")
  check("${said}" "sold 1000, apples left 500\n")
elseif(PROGRAM STREQUAL "word_index")
  set(text ${CMAKE_CURRENT_BINARY_DIR}/word_index.${random})
  string(REPEAT "The quick brown fox,the lazy dog\n" 1000 words)
  file(WRITE ${text} "${words}")
  execute_process(COMMAND ${run} build ${segment} ${text} COMMAND ${run} build ${segment} ${text} ${text}
    RESULTS_VARIABLE results TIMEOUT 200)
  file(REMOVE ${text})
  execute_process(COMMAND ${run} query ${segment} the fox cat OUTPUT_VARIABLE answer RESULT_VARIABLE query TIMEOUT 30)
  execute_process(COMMAND ${run} top ${segment} 2 OUTPUT_VARIABLE top RESULT_VARIABLE ranked TIMEOUT 30)
  execute_process(COMMAND ${run} remove ${segment} RESULT_VARIABLE removed TIMEOUT 30)
  check_results("${results};${query};${ranked}")
  if(WINDOWS)
    check("${answer}" "the 0\nfox 0\ncat 0\n")
    check("${top}" "")
  else()
    check_results("${removed}")
    check("${answer}" "the 6000\nfox 3000\ncat 0\n")
    check("${top}" "the 6000\nbrown 3000\n")
  endif()
else()
  execute_process(COMMAND ${run} OUTPUT_VARIABLE said RESULT_VARIABLE result TIMEOUT 280)
  check_results("${result}")
  check("${said}" "(.*\n)?ok\n")
endif()
