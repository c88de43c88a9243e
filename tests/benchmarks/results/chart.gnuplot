set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 1.14073 1.46185 "1.14" "1.46 libtorch"
1 1.74554 3.24938 "1.75" "3.25 libtorch"
2 1.13063 1.606 "1.13" "1.61 libtorch"
3 1.91361 2.96527 "1.91" "2.97 libtorch"
4 1.05012 3.41544 "1.05" "3.42 oneDNN*"
5 2.083 3.11794 "2.08" "3.12 libtorch"
6 1.00968 1.17676 "1.01" "1.18 oneDNN*"
7 1.30299 6.21669 "1.30" "6.22 libtorch"
8 4.32594 18.7408 "4.33" "18.74 libtorch"
9 1.11043 1.78284 "1.11" "1.78 libtorch"
10 1.42458 2.84185 "1.42" "2.84 oneDNN"
11 4.21465 4.00307 "4.21" "4.00 oneDNN*"
12 2.23676 2.96014 "2.24" "2.96 libtorch"
13 1.12907 1.85905 "1.13" "1.86 libtorch"
14 0.740239 1.02247 "0.74" "1.02 libtorch"
15 2.18833 5.72345 "2.19" "5.72 libtorch"
16 1.15769 1.38028 "1.16" "1.38 libtorch"
17 1.28547 2.31952 "1.29" "2.32 libtorch"
18 4.61396 4.77815 "4.61" "4.78 oneDNN*"
19 2.12645 2.35575 "2.13" "2.36 libtorch"
20 1.307 1.68086 "1.31" "1.68 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
