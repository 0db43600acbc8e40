/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_DIGEST_H
#define MVM_DIGEST_H

#include <stdint.h>

#define MVM_DIGEST_SIZE 32

/* A SHA-256 digest.  Written for people and files as 64 lower-case hex digits. */
struct mvm_digest {
	uint8_t bytes[MVM_DIGEST_SIZE];
};

#endif
