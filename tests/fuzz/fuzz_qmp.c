/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as one line of QMP: refused or read, never a crash. */
#include <stddef.h>
#include <stdint.h>

#include "net/qmp_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_DONE(qmp_message) m = { 0 };
	struct mvm_error err;
	qmp_message_parse((const char *)data, size, &m, &err); /* any result is fine */
	return 0;
}
