/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_ERROR_H
#define MVM_ERROR_H

#include <mvm/visibility.h>

/*
 * What went wrong, in a sentence for people.
 *
 * Every function that can fail returns a value >= 0, or a negative errno and then fills the
 * caller's mvm_error.  The two always agree: the return value equals `code`.
 *
 * An error is plain storage owned by the caller: nothing to free, dropping it leaks nothing, and
 * running out of memory can be reported.  A caller that does not want the sentence passes NULL.
 *
 * What the codes mean in this library:
 *   -EINVAL        the caller's or user's input is wrong; the text names the place
 *   -ENOENT        the named template, revision, kernel or instance is missing
 *   -EEXIST        it exists already
 *   -EBUSY         locked or in the wrong state now; a retry may work
 *   -EBADMSG       stored or received data is damaged
 *   -EPROTO        a peer broke its protocol
 *   -EREMOTEIO     a peer refused; its words are in the text
 *   -EOPNOTSUPP    this backend, host or kernel cannot do it
 *   -ETIMEDOUT     a deadline passed
 *   -EFBIG         over one of our limits
 *   others         as errno(3) says
 */
#define MVM_ERROR_REASON_SIZE  32
#define MVM_ERROR_SUBJECT_SIZE 128
#define MVM_ERROR_HINT_SIZE    512
#define MVM_ERROR_TEXT_SIZE    1024

struct mvm_error {
	int code; /* negative errno, 0 when no error was set */
	/* For programs, where the code is not enough: "template-exists", a word that later versions
	 * keep (doc/reasons.md); "" for none. */
	char reason[MVM_ERROR_REASON_SIZE];
	/* Name of the template, instance, folder or other object that the reason is about; "" for
	 * none, or one that does not fit. */
	char subject[MVM_ERROR_SUBJECT_SIZE];
	char hint[MVM_ERROR_HINT_SIZE]; /* next step for the user; "" for none */
	char text[MVM_ERROR_TEXT_SIZE]; /* lower case, no full stop; what failed first, then why */
};

/*
 * Map an error code to the exit status that the mvm command documents.
 *
 *   code  a negative errno as returned by this library; 0 and above mean success
 *
 * Returns 0 done, 1 failed, 2 usage, 3 not found, 4 busy, locked or taken, 5 damaged
 * data, 6 not supported here.
 */
MVM_API int mvm_error_exit_status(int code);

#endif
