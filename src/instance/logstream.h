/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_LOGSTREAM_H
#define INSTANCE_LOGSTREAM_H

/* An instance's logs entry by entry: mvm_log_stream of mvm/stream.h. */

#include <mvm/stream.h>

/* See mvm_log_stream_open(). */
int log_stream_open(int instances_fd, const char *name,
		    const struct mvm_log_stream_options *options, struct mvm_log_stream **ret,
		    struct mvm_error *err);

static inline void auto_ptr_mvm_log_stream(struct mvm_log_stream **p)
{
	mvm_log_stream_close(*p);
}

#endif
