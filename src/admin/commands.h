/* commands.h -- subcommands of `sol` that ask a running broker. */
/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SOL_ADMIN_COMMANDS_H
#define SOL_ADMIN_COMMANDS_H

/* `sol reload [SOCKET]`: argv from "reload" on; gives the exit status. */
int reload_main(int argc, char **argv);
/* `sol console [-w N] [-e CODE] [SOCKET]`: likewise. */
int console_main(int argc, char **argv);

#endif
