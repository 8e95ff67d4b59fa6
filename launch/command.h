/* command.h - the commands of the `tarn` program. Each takes its own argv (argv[0] is its name) and returns the exit
 * code: 0, 2 (what the user wrote is wrong), 1 (a failure), 75 (stopped on request, to be resumed).
 */
#ifndef TARN_LAUNCH_COMMAND_H
#define TARN_LAUNCH_COMMAND_H

int tarn_command_train(int argc, char **argv);
int tarn_command_run(int argc, char **argv);
int tarn_command_eval(int argc, char **argv);
int tarn_command_sample(int argc, char **argv);
int tarn_command_export(int argc, char **argv);
int tarn_command_checkpoint(int argc, char **argv);
int tarn_command_report(int argc, char **argv);
int tarn_command_launch(int argc, char **argv);
int tarn_command_track(int argc, char **argv);

#endif
