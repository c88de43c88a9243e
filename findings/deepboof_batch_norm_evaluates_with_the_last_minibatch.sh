#!/bin/sh
# SPDX-License-Identifier: MIT
# DeepBoof's batch normalisations that learn keep no average of the minibatches: in evaluation they use
# the mean and the deviation of the last minibatch alone, whatever came before it. An epoch that ends on
# a small or an unusual minibatch decides how the network answers. The deviation is that of a sample
# (n - 1), in training as well, so that the output has a variance of 0.75 for four values. A single
# input is refused in evaluation, too: "There must be more than 1 minibatch".
#
# Version: DeepBoof 0.5.1, Debian 12 (bookworm), package libdeepboof-java 0.5.1+ds-1.
# Source:  deepboof/impl/backward/standard/DFunctionBatchNorm_F64.java and DSpatialBatchNorm_F64.java of
#          lessthanoptimal/DeepBoof: forwardsEvaluate() reads what forwardsLearning() has computed last.
#          Documentation of DBatchNorm: mean and deviation are computed on the forward pass, "always".
#
# Output seen, to four digits; epsilon is 1e-9:
#
#   learns -1 1 -1 1: -0.866 0.866 -0.866 0.866
#   learns 99 103 99 103: -0.866 0.866 -0.866 0.866
#   evaluates 0 101: -43.73 0
#   evaluates 0: refused
#   as stated
#
#   findings/deepboof_batch_norm_evaluates_with_the_last_minibatch.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the package into a temporary folder; needs apt-get and dpkg of Debian 12, java
# and javac.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for program in java javac; do
  command -v "$program" >/dev/null || cannot_try "no $program"
done
apt-get download -qq -o APT::Sandbox::User=root libdeepboof-java=0.5.1+ds-1 ||
  cannot_try "libdeepboof-java cannot be downloaded"
dpkg -x libdeepboof-java_*.deb unpacked

cat >Program.java <<'JAVA'
import deepboof.impl.backward.standard.DFunctionBatchNorm_F64;
import deepboof.tensors.Tensor_F64;
import java.util.ArrayList;
import java.util.Locale;

public class Program {
  private static final DFunctionBatchNorm_F64 layer = new DFunctionBatchNorm_F64(false);

  private static void run(String what, double... values) {
    Tensor_F64 input = new Tensor_F64(values.length, 1), output = new Tensor_F64(values.length, 1);
    System.arraycopy(values, 0, input.d, 0, values.length);
    StringBuilder line = new StringBuilder(what);
    for (double value : values) line.append(String.format(Locale.ROOT, " %.0f", value));
    line.append(":");
    try {
      layer.forward(input, output);
      for (double value : output.d) line.append(" " + Double.valueOf(String.format("%.4g", value)));
    } catch (IllegalArgumentException refused) {
      line.append(" refused");
    }
    System.out.println(line.toString().replaceAll("\\.0\\b", ""));
  }

  public static void main(String[] arguments) {
    Locale.setDefault(Locale.ROOT);
    layer.initialize(1);
    layer.setParameters(new ArrayList<>());
    layer.learning();
    run("learns", -1, 1, -1, 1);
    run("learns", 99, 103, 99, 103);
    layer.evaluating();
    run("evaluates", 0, 101);
    run("evaluates", 0);
  }
}
JAVA
jar=$folder/unpacked/usr/share/java/deepboof-0.5.1.jar
javac -cp "$jar" Program.java 2>log || { cat log; cannot_try "the program cannot be built"; }
java -cp "$jar:." Program | tee seen
cat >expected <<'TXT'
learns -1 1 -1 1: -0.866 0.866 -0.866 0.866
learns 99 103 99 103: -0.866 0.866 -0.866 0.866
evaluates 0 101: -43.73 0
evaluates 0: refused
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
