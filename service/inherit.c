/* SPDX-License-Identifier: Apache-2.0 */
#include "inherit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/own.h"

#define FDS_MAX 64

static atomic_int fds[FDS_MAX]; /* fd + 1; 0: none.  Any thread may fork. */

static void in_child(void)
{
	for (size_t i = 0; i < FDS_MAX; i++) {
		int fd = atomic_load(&fds[i]) - 1;
		if (fd >= 0)
			close(fd);
	}
}

int inherit_not(int fd)
{
	static bool asked;
	if (!asked && pthread_atfork(NULL, NULL, in_child) != 0)
		return -ENOMEM;
	asked = true;
	for (size_t i = 0; i < FDS_MAX; i++) {
		int none = 0;
		if (atomic_compare_exchange_strong(&fds[i], &none, fd + 1))
			return 0;
	}
	return -EMFILE;
}

void inherit_forget(int fd)
{
	for (size_t i = 0; i < FDS_MAX; i++) {
		int this = fd + 1;
		if (fd >= 0 && atomic_compare_exchange_strong(&fds[i], &this, 0))
			return;
	}
}
