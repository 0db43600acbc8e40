/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_LASTWORDS_H
#define SUPERVISOR_LASTWORDS_H

#include <mvm/error.h>

/*
 * Put a guest's last words before the reason of an error: what is wrong is what a person looks for
 * at the end.
 *
 * The reason stays whole, with some room for context that callers add.  What is left is for the
 * words, from their end and in whole lines where there are several.  Neither source takes more than
 * half of the room from the other.
 *
 *   console, workload  as of logfile_tail(); "" for none
 */
void last_words(struct mvm_error *err, const char *console, const char *workload);

#endif
