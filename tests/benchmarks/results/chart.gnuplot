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
0 1.03169 1.76473 "1.03" "1.76 libtorch"
1 1.14726 2.92886 "1.15" "2.93 libtorch"
2 1.08232 1.8635 "1.08" "1.86 oneDNN"
3 1.31712 1.944 "1.32" "1.94 libtorch"
4 1.30813 3.30376 "1.31" "3.30 libtorch"
5 1.28488 1.9993 "1.28" "2.00 libtorch"
6 1.08856 1.96576 "1.09" "1.97 oneDNN*"
7 1.19665 6.17607 "1.20" "6.18 libtorch"
8 3.11439 10.6543 "3.11" "10.65 libtorch"
9 1.02178 1.6415 "1.02" "1.64 oneDNN"
10 1.53048 2.56914 "1.53" "2.57 oneDNN"
11 4.28259 4.31283 "4.28" "4.31 oneDNN*"
12 1.56227 2.26976 "1.56" "2.27 oneDNN*"
13 1.09249 2.18764 "1.09" "2.19 oneDNN*"
14 1.39466 2.34666 "1.39" "2.35 libtorch"
15 2.76997 13.9089 "2.77" "13.91 oneDNN"
16 1.0722 1.69517 "1.07" "1.70 libtorch"
17 1.37 2.52674 "1.37" "2.53 oneDNN"
18 3.9079 6.56838 "3.91" "6.57 oneDNN*"
19 1.5657 2.08865 "1.57" "2.09 libtorch"
20 0.954939 1.65625 "0.95" "1.66 oneDNN*"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
