/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTANCE_COPY_H
#define INSTANCE_COPY_H

/* Files between this host and a running guest: a tar stream to or from the agent (copy/tar.h), made
 * and unpacked here as it comes. */

#include <mvm/instance.h>

#include "instance/record.h"
#include "instance/session.h"

/*
 * Copy, as mvm_instance_copy_in() and mvm_instance_copy_out() do.
 *
 *   ret_note  what was left out, for people; the caller's, "" when there is nothing to say
 */
int copy_in(struct control *c, const char *host_path, const char *guest_path,
	    const struct mvm_copy_options *options, struct strbuf *ret_note, struct mvm_error *err);
int copy_out(struct control *c, const char *guest_path, const char *host_path,
	     const struct mvm_copy_options *options, struct strbuf *ret_note,
	     struct mvm_error *err);

/* A volume's folder into the guest, and back into a folder whose unchanged files stay as they
 * are.  A guest that says nothing for half a minute has failed. */
int volume_copy_in(struct control *c, const struct record_volume *v, struct mvm_error *err);
int volume_copy_back(struct control *c, const struct record_volume *v, int64_t deadline_ns,
		     int cancel_fd, struct mvm_error *err);

#endif
