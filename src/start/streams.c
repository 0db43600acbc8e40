/* SPDX-License-Identifier: Apache-2.0 */
/* Open the streams of mvm/stream.h; src/instance/ has their other functions. */
#include "instance/events.h"
#include "instance/exec.h"
#include "instance/logstream.h"
#include "start/start.h"

int mvm_exec_start(struct mvm *mvm, const char *instance,
		   const struct mvm_exec_start_options *options, struct mvm_exec **ret,
		   struct mvm_error *err)
{
	struct mvm_instance *i;
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	int r = fd < 0 ? fd : instance_connect(fd, instance, NULL, &i, err);
	return r < 0 ? r : exec_start(i, options, ret, err);
}

int mvm_log_stream_open(struct mvm *mvm, const char *instance,
			const struct mvm_log_stream_options *options, struct mvm_log_stream **ret,
			struct mvm_error *err)
{
	int fd = store_dir_get(mvm->store, STORE_INSTANCES, err);
	return fd < 0 ? fd : log_stream_open(fd, instance, options, ret, err);
}

int mvm_event_stream_open(struct mvm *mvm, const struct mvm_event_stream_options *options,
			  struct mvm_event_stream **ret, struct mvm_error *err)
{
	int fd = store_dir_get(mvm->store, STORE_LOGS, err);
	return fd < 0 ? fd : event_stream_open(fd, options, ret, err);
}
